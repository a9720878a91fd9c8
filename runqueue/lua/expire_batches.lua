-- A batch whose upload was never finished expires and its jobs are removed (they were not accepted).
-- ARGV  now_us, keep_us, limit.   Reply: how many jobs were looked at (as many as the limit = ask again)
local UNSEALED, limit, looked = PREFIX .. 'unsealed', tonumber(ARGV[3]), 0
expect(UNSEALED, 'zset')
pass_when_full()
if clock_is_stale() then return 0 end
local old = redis.call('ZRANGEBYSCORE', UNSEALED, '-inf', int(NOW - tonumber(ARGV[2])), 'LIMIT', 0, 8)
for _, batch in ipairs(old) do
  local jobs, key = PREFIX .. 'batch_jobs:' .. batch, PREFIX .. 'batch:' .. batch
  if redis.call('HGET', key, 'sealed') == '0' then bump(totals, 'batches_expired', 1) end
  redis.call('HDEL', key, 'sealed') -- nobody adds to it or seals it while it is taken apart
  local ids = redis.call('LPOP', jobs, math.max(1, limit - looked)) or {}
  for _, id in ipairs(ids) do
    local job = read_job(id)
    if job and job.batch == batch and (job.state == 'ready' or job.state == 'scheduled') then
      bump(totals, job.state .. ':' .. job.priority, -1)
      redis.call('ZREM', PREFIX .. 'due', id)
      redis.call('ZREM', PREFIX .. 'deadlines', id)
      local earlier = redis.call('HGET', job_key(id), 'earlier') or ''
      for run_id in string.gmatch(earlier, '%S+') do redis.call('HDEL', runs_key(run_id), run_id) end
      redis.call('DEL', job_key(id), PREFIX .. 'body:' .. id, PREFIX .. 'result:' .. id)
    elseif job and job.batch == batch then
      redis.call('HDEL', job_key(id), 'batch') -- it ran or was canceled: it outlives its batch
    end
  end
  looked = looked + #ids
  if redis.call('EXISTS', jobs) == 0 then
    drop_lanes(batch)
    redis.call('DEL', PREFIX .. 'batch_lanes:' .. batch, key)
    redis.call('ZREM', PREFIX .. 'batches', batch)
    redis.call('ZREM', UNSEALED, batch)
  end
  if looked >= limit then break end
end
save()
return looked
