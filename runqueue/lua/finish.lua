-- A run is over: running → completed | failed | canceled. A result is recorded once.
-- ARGV  now_us, then 7 a job: id, attempt, run_id, state, run_status, reason, result (the answer as
--       it came; '' = none is known)
-- Reply per job: 1 = recorded, 0 = over already, or another run is the job's
-- A run that we canceled because its time was up has failed, whatever the server calls it.
local reply = {}
for i = 2, #ARGV, 7 do
  local id, state, reason = ARGV[i], ARGV[i + 3], ARGV[i + 5]
  -- DEL and ZREM free memory: a full server lets the rest of this script pass after them.
  local job = read_job(id)
  if job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == ARGV[i + 2] then
    redis.call('ZREM', PREFIX .. 'poll', id)
    if job.cancel then
      redis.call('ZREM', PREFIX .. 'cancels', id)
      if state == 'canceled' and job.cancel ~= 'asked' then state, reason = 'failed', job.cancel end
    end
    if ARGV[i + 6] ~= '' then redis.call('SET', PREFIX .. 'result:' .. id, ARGV[i + 6]) end
    local fields = { 'run_status', ARGV[i + 4] }
    if reason ~= '' then fields[3], fields[4] = 'reason', reason end
    redis.call('HINCRBY', job_key(id), 'runs', 1)
    end_job(job, state, fields)
    redis.call('HDEL', job_key(id), 'cancel_since')
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
return reply
