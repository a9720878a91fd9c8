-- Runs of ours that were still `queued` at Skyvern long after they were accepted, as a poll or a list saw (`long_queued`,
-- by when it did): the plan's concurrency is shared with runs from its UI, from schedules and of others.
local long_queued = {}
local LONG, SHOWN = 120000000, 500

local function is_long(q, status, started, begun)
  return status == 'queued' and q.now - math.max(tonumber(started or q.now), tonumber(begun or 0)) >= LONG
end

-- Notes that a run was seen with a status; `started`, `begun` = the job's fields.
function long_queued.note(q, id, status, started, begun)
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

-- How many there are, 500 at most: entries of runs that went on, or ended, do not count.
function long_queued.count(q)
  local n = 0
  for _, id in ipairs(redis.call('ZREVRANGE', q.prefix .. 'long_queued', 0, SHOWN - 1)) do
    local f = redis.pcall('HMGET', job_key(q, id), 'state', 'run_status')
    if f[1] == 'running' and f[2] == 'queued' then n = n + 1 end
  end
  return n
end

return long_queued
