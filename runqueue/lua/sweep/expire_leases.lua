-- use: counters board changes job_record jobs trail
-- Takes over claims whose process died, or that are older than any submission can be: submitting → unconfirmed.
-- ARGV  now_us, max_claim_age_us, limit.   Reply: how many claims were taken over
-- A death is counted on each job that the process was submitting: that identifies crash suspects (see claim.lua). A
-- process that ended in order (score 1) did not die.
counters.open(q)
local PROCESSES = q.prefix .. 'processes'
local max_age, limit = tonumber(q.args[2]), tonumber(q.args[3])
expect(PROCESSES, 'zset')
expect(q.prefix .. 'unconfirmed', 'zset')
expect(q.prefix .. 'reconcile', 'zset')
if clock_is_stale(q) then return 0 end

local taken = 0
local function take_over(process, id, reason, died)
  local job = job_record.read(q, id)
  if not job or job.state ~= 'submitting' or job.process ~= process then return end
  jobs.to_unconfirmed(q, job, reason)
  trail.add(q, job, 'unconfirmed', reason)
  if died then
    redis.call('HINCRBY', job_key(q, id), 'deaths', 1)
    redis.call('HSET', job_key(q, id), 'died', int(job.attempt))
  end
end
local function take_over_all(process, ids, reason, died)
  for _, id in ipairs(ids) do
    if not try(q, take_over, process, id, reason, died) then set_aside(q, 'job ' .. id) end
    redis.call('ZREM', q.prefix .. 'claims:' .. process, id)
    taken = taken + 1
  end
end

-- So many processes a call; those with damaged claims do not block others.
local MOST, MOST_DAMAGED, passed = 16, 1000, 0
local has_loss = redis.call('HEXISTS', q.meta, 'recover_from') == 1
local gone = redis.call('ZRANGEBYSCORE', PROCESSES, '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0, MOST + MOST_DAMAGED)
local function take_over_from_gone(process, died)
  local claims = q.prefix .. 'claims:' .. process
  -- Its last claims may be lost as well, and it cannot report them (server.lua).
  if died and has_loss then redis.call('HSET', q.meta, 'recover_deaths', '1') end
  if taken < limit then
    take_over_all(process, redis.call('ZRANGE', claims, 0, limit - taken - 1),
      died and 'the process that sent it died' or 'the process that sent it was stopped', died)
  end
  if redis.call('EXISTS', claims) == 0 then
    redis.call('ZREM', PROCESSES, process)
    board.forget_process(q, process)
    counters.bump(q.totals, 'lease_takeovers', 1)
  end
end
for i = 1, #gone, 2 do
  if passed >= MOST then break end
  if try(q, take_over_from_gone, gone[i], gone[i + 1] ~= '1') then passed = passed + 1 end
end

local function take_over_old(process)
  if taken >= limit then return end
  take_over_all(process, redis.call('ZRANGEBYSCORE', q.prefix .. 'claims:' .. process, '-inf', int(q.now - max_age),
    'LIMIT', 0, limit - taken), 'its submission never ended')
end
for _, process in ipairs(redis.call('ZRANGEBYSCORE', PROCESSES, '(' .. int(q.now), '+inf')) do
  try(q, take_over_old, process)
end
counters.bump(q.totals, 'claims_taken_over', taken)
changes.save(q)
raise_damage(q)
return taken
