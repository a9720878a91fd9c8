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

-- The position in a reply of a job that a lost claim may have had: 2 = it waits, 3 = its run is searched later
-- (suspect_lost.lua), nil = no lost claim can have had it. `from` is 0 without a recovery: then all waiting jobs count.
local function place_of(id, state, has_policy, batch, from, since)
  if state == 'running' then return has_policy and 3 or nil end
  if state ~= 'ready' and not (state == 'scheduled' and was_due_then(id, from, since)) then return nil end
  return is_accepted(batch or NO_BATCH) and 2 or 3
end

-- Returns { how many ids these are, { ids of jobs that wait… }, { ids of those that are searched later… }, a letter for
-- each of these ids, in their order: 'w' or 'p' of one that waits, 'W' or 'P' of one for later }; `newest` = only up to the
-- first that entered its lane before claims may have been lost. 'p' = claims may have passed it by, since a key of it may
-- have a limit (keys.lua), so those behind it may have been claimed; none in `lane`, if that is a lane of keys.
local function tell_lost(ids, newest, lane)
  local recover = redis.call('HMGET', META, 'recover_from', 'recover_since')
  local from, since, found, marks = tonumber(recover[1] or 0), tonumber(recover[2] or 0), { 0, {}, {} }, {}
  local may_pass = not (lane and string.find(lane, '|', 1, true))
    and redis.call('EXISTS', PREFIX .. 'key_limits', PREFIX .. 'held_keys', PREFIX .. 'budgets') > 0
  for n, id in ipairs(ids) do
    local f = redis.call('HMGET', job_key(id), 'state', 'retry', 'batch', 'ready_at', 'created', 'keys')
    if newest and (from == 0 or tonumber(f[4] or f[5] or 0) < from) then break end
    found[1] = n
    local place = place_of(id, f[1], f[2], f[3], from, since)
    if place then
      table.insert(found[place], id)
      local mark = f[6] and may_pass and 'p' or 'w'
      marks[#marks + 1] = place == 3 and string.upper(mark) or mark
    end
  end
  found[4] = table.concat(marks)
  return found
end
