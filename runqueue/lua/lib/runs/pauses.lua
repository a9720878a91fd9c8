-- Runs that wait for a person at Skyvern, in its status `paused`. A job is in the index `paused`, by since when, while
-- it is running and its `run_status` says so.
-- Fields of a job, of this pause: paused_since; paused_url (where the person decides); approving_until (an approval was
-- sent, and no other one is before that time).
local pauses = {}

-- The pause is over. It does not count for the run's limit: the time of the run begins that much later.
function pauses.leave(q, id)
  local key = job_key(q, id)
  local f = redis.call('HMGET', key, 'started', 'begun', 'paused_since')
  local since = math.max(tonumber(f[1] or 0), tonumber(f[2] or 0))
  local lasted = math.max(0, q.now - math.max(since, tonumber(f[3] or q.now)))
  redis.call('ZREM', q.prefix .. 'paused', id)
  redis.call('ZREM', q.prefix .. 'cancels', 'approve ' .. id)
  redis.call('HDEL', key, 'paused_since', 'paused_url', 'approving_until')
  redis.call('HSET', key, 'begun', int(since + lasted))
end

-- Records the status of a live run; `before` = the one on record.
function pauses.set_status(q, id, before, run_status)
  local key = job_key(q, id)
  if run_status == 'paused' and redis.call('ZADD', q.prefix .. 'paused', 'NX', int(q.now), id) == 1 then
    redis.call('HSET', key, 'paused_since', int(q.now))
  elseif run_status ~= 'paused' and before == 'paused' then
    pauses.leave(q, id)
  end
  redis.call('HSET', key, 'run_status', run_status)
end

return pauses
