-- Which jobs that wait a Redis may have claimed before it was lost, `from` … `since` (of a recovery, see server.lua).

-- A user's time that was still to come then was none to claim the job at. One that is handed in anew may have been
-- handed in before, for a time as much earlier; and a job that runs again may have been due to before.
local CLOCKS_APART = 60000000
local function was_due_then(id, from, since)
  local f = redis.call('HMGET', job_key(id), 'run_at', 'created', 'runs', 'put_off')
  if tonumber(f[3] or 0) > 0 or f[4] then return true end
  local handed_in_late = math.max(0, tonumber(f[2] or 0) - from)
  return tonumber(f[1] or 0) - handed_in_late <= since + CLOCKS_APART
end

-- Nothing of an upload runs before it is sealed, and one that is given up goes: its jobs are looked for once they are
-- claimed (claim.lua). It may have been sealed, and that be lost with the claims.
local accepted = {}
local function is_accepted(batch)
  if batch == NO_BATCH then return true end
  if accepted[batch] == nil then accepted[batch] = redis.call('HGET', batch_key(batch), 'sealed') == '1' end
  return accepted[batch]
end
