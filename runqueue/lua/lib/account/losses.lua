-- use: batches
-- Which waiting jobs may have been claimed in a Redis that was lost, `from` … `since` (of a recovery, see server.lua).

-- Whether a recovery searches for lost claims (server.lua). Jobs do not wait for one that waits for a person.
local recovers
local function is_recovering()
  if recovers == nil then
    local f = redis.call('HMGET', META, 'recover_from', 'hold_kind')
    recovers = (f[1] and f[2] ~= 'person') and true or false
  end
  return recovers
end

-- A job whose user's time was still to come then cannot have been claimed. But one that was submitted again may have
-- been submitted before for an earlier time, and a retried job may have been due before.
local CLOCKS_APART = 60000000
local function was_due_then(id, from, since)
  local f = redis.call('HMGET', job_key(id), 'run_at', 'created', 'runs', 'put_off')
  if tonumber(f[3] or 0) > 0 or f[4] then return true end
  local enqueued_later = math.max(0, tonumber(f[2] or 0) - from)
  return tonumber(f[1] or 0) - enqueued_later <= since + CLOCKS_APART
end

-- Nothing of an upload runs before it is sealed, and a discarded one is removed: its jobs' runs are searched once the
-- jobs are claimed (claim.lua). The sealing may have been lost with the claims.
local sealed = {}
local function is_accepted(batch)
  if batch == NO_BATCH then return true end
  if sealed[batch] == nil then sealed[batch] = redis.call('HGET', batch_key(batch), 'sealed') == '1' end
  return sealed[batch]
end

-- When the run of a job is searched that a lost claim may have had: WAITS_NOW = it waits, LATER (suspect_lost.lua); nil =
-- no lost claim can have had it. `from` is 0 without a recovery: then all waiting jobs count.
local WAITS_NOW, LATER = 1, 2
local function place_of(id, state, has_policy, batch, from, since)
  if state == 'running' then return has_policy and LATER or nil end
  if state ~= 'ready' and not (state == 'scheduled' and was_due_then(id, from, since)) then return nil end
  return is_accepted(batch or NO_BATCH) and WAITS_NOW or LATER
end

-- Whether claims may have passed a job of a lane by, so that those behind it may have been claimed: a key of it may have
-- a limit that others use up, a budget may have no room for it, or it is to end, is searched, is a crash suspect, or waits
-- in another lane. Limits may have been set after the copy that is now this server was made: a key is enough. In a lane of
-- keys all jobs have the same keys.
local has_budgets, has_stray_jobs
local function may_be_passed_by(id, f, lane)
  if has_budgets == nil then
    has_budgets = redis.call('EXISTS', PREFIX .. 'budgets') == 1
    has_stray_jobs = redis.call('EXISTS', PREFIX .. 'stray_jobs') == 1
  end
  local own = 'lane:' .. (f.priority or '2') .. ':' .. (f.group or 'default') .. ':' .. (f.batch or NO_BATCH)
  return has_budgets or (f.keys and not string.find(lane, '|', 1, true)) or f.cancel or f.lost_claim
    or tonumber(f.deaths or 0) >= 2 or tonumber(f.deadline or math.huge) <= NOW
    or string.match(lane, '^[^|+]*') ~= own
    or (has_stray_jobs and redis.call('HEXISTS', PREFIX .. 'stray_jobs', id) == 1)
end

-- Returns { how many ids these are, then of each job that a lost claim may have had: its id, and letters: 'l' = its run is
-- searched later (place_of), 'n' = it came to its lane since claims may have been lost, 'p' = claims may have passed it by
-- in `lane` (nil: the ids are of no lane) }.
local LOST_FIELDS = { 'state', 'retry', 'batch', 'ready_at', 'created', 'keys', 'priority', 'group', 'deadline', 'cancel',
  'lost_claim', 'deaths' }
local function tell_lost(ids, lane)
  local recover = redis.call('HMGET', META, 'recover_from', 'recover_since')
  local from, since, reply = tonumber(recover[1] or 0), tonumber(recover[2] or 0), { #ids }
  for _, id in ipairs(ids) do
    local f = {}
    for at, value in ipairs(redis.call('HMGET', job_key(id), unpack(LOST_FIELDS))) do f[LOST_FIELDS[at]] = value end
    local place = place_of(id, f.state, f.retry, f.batch, from, since)
    if place then
      local is_new = from > 0 and tonumber(f.ready_at or f.created or 0) >= from
      reply[#reply + 1] = id
      reply[#reply + 1] = (place == LATER and 'l' or '') .. (is_new and 'n' or '')
        .. (lane and may_be_passed_by(id, f, lane) and 'p' or '')
    end
  end
  return reply
end
