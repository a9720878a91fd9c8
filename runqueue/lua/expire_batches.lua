-- A batch whose upload was never finished expires and its jobs are removed (they were not accepted).
-- ARGV  now_us, keep_us, limit.   Reply: how many jobs were looked at (as many as the limit = ask again)
local UNSEALED, limit, looked = PREFIX .. 'unsealed', tonumber(ARGV[3]), 0
expect(UNSEALED, 'zset')
local old = redis.call('ZRANGEBYSCORE', UNSEALED, '-inf', int(NOW - tonumber(ARGV[2])), 'LIMIT', 0, 8)
for _, batch in ipairs(old) do
  local jobs = PREFIX .. 'batch_jobs:' .. batch
  local ids = redis.call('LPOP', jobs, math.max(1, limit - looked)) or {}
  for _, id in ipairs(ids) do
    local job = read_job(id)
    if job and job.batch == batch and (job.state == 'ready' or job.state == 'scheduled') then
      bump(totals, job.state .. ':' .. job.priority, -1)
      redis.call('ZREM', PREFIX .. 'due', id)
      redis.call('ZREM', PREFIX .. 'deadlines', id)
      redis.call('DEL', job_key(id), PREFIX .. 'body:' .. id)
    end
  end
  looked = looked + #ids
  if redis.call('EXISTS', jobs) == 0 then
    for _, lane in ipairs(redis.call('SMEMBERS', PREFIX .. 'batch_lanes:' .. batch)) do
      local priority, group = string.match(lane, '^(%d):(.*)$')
      redis.call('DEL', lane_key(priority, group, batch))
    end
    redis.call('DEL', PREFIX .. 'batch_lanes:' .. batch, PREFIX .. 'batch:' .. batch)
    redis.call('ZREM', PREFIX .. 'batches', batch)
    redis.call('ZREM', UNSEALED, batch)
    bump(totals, 'batches_expired', 1)
  end
  if looked >= limit then break end
end
save()
return looked
