-- use: counters active_consumers job_record jobs history
-- Takes over claims whose process died, or that are older than any submission can be: submitting → unconfirmed.
-- ARGV  now_us, max_claim_age_us, limit.   Reply: how many claims were taken over
-- A death is counted on each job that the process was submitting: one that kills its workers ends (jobs.lua). A
-- process that ended in order (score 1) did not die.
local PROCESSES = q.prefix .. 'processes'
local max_age, limit = tonumber(q.args[2]), tonumber(q.args[3])
if clock_is_stale(q) then return 0 end

local taken = 0
local function take_over(process, id, reason, died)
  local job = job_record.read(q, id)
  if not job or job.state ~= 'submitting' or job.process ~= process then return end
  jobs.to_unconfirmed(q, job, reason)
  history.add(q, job, 'unconfirmed', reason)
  if died then
    redis.call('HINCRBY', job_key(q, id), 'deaths', 1)
    redis.call('HSET', job_key(q, id), 'died', int(job.attempt))
  end
end
local function take_over_all(process, ids, reason, died)
  for _, id in ipairs(ids) do
    take_over(process, id, reason, died)
    redis.call('ZREM', q.prefix .. 'claims:' .. process, id)
    taken = taken + 1
  end
end

local MOST = 16 -- processes a call
local has_loss = redis.call('HEXISTS', q.meta, 'recover_from') == 1
local gone = redis.call('ZRANGEBYSCORE', PROCESSES, '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0, MOST)
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
    active_consumers.forget_process(q, process)
    counters.bump(q.totals, 'lease_takeovers', 1)
  end
end
for i = 1, #gone, 2 do
  take_over_from_gone(gone[i], gone[i + 1] ~= '1')
end

local function take_over_old(process)
  if taken >= limit then return end
  take_over_all(process, redis.call('ZRANGEBYSCORE', q.prefix .. 'claims:' .. process, '-inf', int(q.now - max_age),
    'LIMIT', 0, limit - taken), 'its submission never ended')
end
for _, process in ipairs(redis.call('ZRANGEBYSCORE', PROCESSES, '(' .. int(q.now), '+inf')) do
  take_over_old(process)
end
counters.bump(q.totals, 'claims_taken_over', taken)
return taken
