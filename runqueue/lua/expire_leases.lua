-- Claims whose process died, or that are older than any submission can be: submitting → unconfirmed.
-- ARGV  now_us, max_claim_age_us, limit.   Reply: how many claims were taken over
local PROCESSES = PREFIX .. 'processes'
local max_age, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
expect(PROCESSES, 'zset')
expect(PREFIX .. 'unconfirmed', 'zset')
pass_when_full()

local taken = 0
local function take_over(process, ids, reason)
  for _, id in ipairs(ids) do
    redis.call('ZREM', PREFIX .. 'claims:' .. process, id)
    local job = read_job(id)
    if job and job.state == 'submitting' and job.process == process then
      count_state(job, 'unconfirmed')
      redis.call('HSET', job_key(id), 'state', 'unconfirmed', 'reason', reason)
      redis.call('HDEL', job_key(id), 'process')
      redis.call('ZADD', PREFIX .. 'unconfirmed', int(NOW), id)
    end
    taken = taken + 1
  end
end

for _, process in ipairs(redis.call('ZRANGEBYSCORE', PROCESSES, '-inf', int(NOW), 'LIMIT', 0, 16)) do
  local claims = PREFIX .. 'claims:' .. process
  if taken < limit then
    take_over(process, redis.call('ZRANGE', claims, 0, limit - taken - 1), 'the process that sent it died')
  end
  if redis.call('EXISTS', claims) == 0 then
    redis.call('ZREM', PROCESSES, process)
    for _, kind in ipairs({ 'submit', 'poll', 'cancel' }) do
      redis.call('ZREM', PREFIX .. 'board:' .. kind, process)
    end
    redis.call('DEL', PREFIX .. 'wake:' .. process)
    bump(totals, 'lease_takeovers', 1)
  end
end
for _, process in ipairs(redis.call('ZRANGEBYSCORE', PROCESSES, '(' .. int(NOW), '+inf')) do
  if taken < limit then
    take_over(process, redis.call('ZRANGEBYSCORE', PREFIX .. 'claims:' .. process, '-inf',
      int(NOW - max_age), 'LIMIT', 0, limit - taken), 'its submission never ended')
  end
end
bump(totals, 'claims_taken_over', taken)
save()
return taken
