-- Runs of ours that were still `queued` at Skyvern long after they were accepted, as polls or lists saw (`long_queued`,
-- by when it did), while their `run_status` says so: the plan is shared with runs from its UI, of schedules and others.
local long_queued = {}
local LONG = 120000000 -- as in worker/poll_times.py, which lets no list report a run sooner

local function is_long(q, status, started, begun)
  return status == 'queued' and q.now - math.max(tonumber(started or q.now), tonumber(begun or 0)) >= LONG
end

-- Notes that a run was seen with a status; `before`, `started`, `begun` = the job's fields.
function long_queued.note(q, id, before, status, started, begun)
  if status ~= 'queued' then long_queued.leave(q, id, before, started) end
  if not is_long(q, status, started, begun) then return end
  local key = q.prefix .. 'long_queued'
  redis.call('ZADD', key, int(q.now), id)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', int(q.now - DAY))
  redis.call('PEXPIRE', key, int(DAY / 1000))
end

-- When a running job's run was last seen to be queued for long; nil = it is not.
function long_queued.seen_at(q, id, status, started, begun)
  return is_long(q, status, started, begun) and redis.call('ZSCORE', q.prefix .. 'long_queued', id) or nil
end

-- A run that was `queued`, by its record, went on or ended: one begun lately has no entry.
function long_queued.leave(q, id, before, started)
  if before == 'queued' and q.now - tonumber(started or q.now) >= LONG then
    redis.call('ZREM', q.prefix .. 'long_queued', id)
  end
end

return long_queued
