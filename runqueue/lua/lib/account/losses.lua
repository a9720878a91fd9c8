-- use: batches
-- Which waiting jobs may have been claimed in a Redis that was lost, `from` … `since` (of a recovery, see server.lua).
local losses = {}

-- Whether a recovery searches for lost claims (server.lua). Jobs do not wait for one that waits for a person.
function losses.is_recovering(q)
  if q.is_recovering == nil then
    local f = redis.call('HMGET', q.meta, 'recover_from', 'hold_kind')
    q.is_recovering = (f[1] and f[2] ~= 'person') and true or false
  end
  return q.is_recovering
end

-- A job whose user's time was still to come then cannot have been claimed. But one that was submitted again may have
-- been submitted before for an earlier time, and a retried job may have been due before.
local CLOCKS_APART = 60000000
function losses.was_due_then(q, id, from, since)
  local f = redis.call('HMGET', job_key(q, id), 'run_at', 'created', 'runs', 'put_off')
  if tonumber(f[3] or 0) > 0 or f[4] then return true end
  local enqueued_later = math.max(0, tonumber(f[2] or 0) - from)
  return tonumber(f[1] or 0) - enqueued_later <= since + CLOCKS_APART
end

-- Nothing of an upload runs before it is sealed, and a discarded one is removed: its jobs' runs are searched once the
-- jobs are claimed (claim.lua). The sealing may have been lost with the claims.
function losses.is_accepted(q, batch)
  if batch == NO_BATCH then return true end
  if q.sealed_batches[batch] == nil then
    q.sealed_batches[batch] = redis.call('HGET', batches.key(q, batch), 'sealed') == '1'
  end
  return q.sealed_batches[batch]
end

-- When the run of a job is searched that a lost claim may have had: WAITS_NOW = it waits, LATER
-- (mark_maybe_claimed.lua); nil = no lost claim can have had it. `from` is 0 without a recovery: then all waiting jobs
-- count.
local WAITS_NOW, LATER = 1, 2
function losses.place_of(q, id, state, has_policy, batch, from, since)
  if state == 'running' then return has_policy and LATER or nil end
  if state ~= 'ready' and not (state == 'scheduled' and losses.was_due_then(q, id, from, since)) then return nil end
  return losses.is_accepted(q, batch or NO_BATCH) and WAITS_NOW or LATER
end

-- Whether claims may have passed a job of a lane by, so that those behind it may have been claimed: a key of it may have
-- a limit that others use up, a budget may have no room for it, or it is to end, is searched, was submitted by a process that died, or waits
-- in another lane. Limits may have been set after the copy that is now this server was made: a key is enough. In a lane of
-- keys all jobs have the same keys.
local function may_be_passed_by(q, id, f, lane)
  if q.budgets_exist == nil then
    q.budgets_exist = redis.call('EXISTS', q.prefix .. 'budgets') == 1
    q.orphan_jobs_exist = redis.call('EXISTS', q.prefix .. 'orphan_jobs') == 1
  end
  local own = 'lane:' .. (f.priority or '2') .. ':' .. (f.group or 'default') .. ':' .. (f.batch or NO_BATCH)
  return q.budgets_exist or (f.keys and not string.find(lane, '|', 1, true)) or f.cancel or f.maybe_claimed_at
    or tonumber(f.deaths or 0) > 0 or tonumber(f.deadline or math.huge) <= q.now
    or string.match(lane, '^[^|+]*') ~= own
    or (q.orphan_jobs_exist and redis.call('HEXISTS', q.prefix .. 'orphan_jobs', id) == 1)
end

-- Returns { how many ids these are, then of each job that a lost claim may have had: its id, and letters: 'l' = its run is
-- searched later (place_of), 'n' = it came to its lane since claims may have been lost, 'p' = claims may have passed it by
-- in `lane` (nil: the ids are of no lane) }.
local LOST_FIELDS = { 'state', 'retry', 'batch', 'ready_at', 'created', 'keys', 'priority', 'group', 'deadline',
  'cancel', 'maybe_claimed_at', 'deaths' }
function losses.tell_lost(q, ids, lane)
  local recover = redis.call('HMGET', q.meta, 'recover_from', 'recover_since')
  local from, since, reply = tonumber(recover[1] or 0), tonumber(recover[2] or 0), { #ids }
  for _, id in ipairs(ids) do
    local f = {}
    for at, value in ipairs(redis.call('HMGET', job_key(q, id), unpack(LOST_FIELDS))) do f[LOST_FIELDS[at]] = value end
    local place = losses.place_of(q, id, f.state, f.retry, f.batch, from, since)
    if place then
      local is_new = from > 0 and tonumber(f.ready_at or f.created or 0) >= from
      reply[#reply + 1] = id
      reply[#reply + 1] = (place == LATER and 'l' or '') .. (is_new and 'n' or '')
        .. (lane and may_be_passed_by(q, id, f, lane) and 'p' or '')
    end
  end
  return reply
end

return losses
