-- A run is over: running → completed | failed | canceled. A result is recorded once.
-- ARGV  now_us, then 7 a job: id, attempt, run_id, state, run_status, reason, result (the answer as
--       it came; '' = none is known)
-- Reply per job: 1 = recorded, 0 = over already, or another run is the job's
-- A run that we canceled because its time was up has failed, whatever the server calls it.
local reply = {}
pass_when_full()
for i = 2, #ARGV, 7 do
  local id, state, reason = ARGV[i], ARGV[i + 3], ARGV[i + 5]
  local job = read_job(id)
  if job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == ARGV[i + 2] then
    remove_later('poll', id)
    if job.cancel then
      remove_later('cancels', id)
      redis.call('HDEL', job_key(id), 'cancel_since')
      if state == 'canceled' and job.cancel ~= 'asked' then state, reason = 'failed', job.cancel end
    end
    if ARGV[i + 6] ~= '' then
      redis.call('SET', PREFIX .. 'result:' .. id, ARGV[i + 6])
    elseif job.runs > 0 then
      redis.call('DEL', PREFIX .. 'result:' .. id) -- that of an earlier run
    end
    if job.runs > 0 then redis.call('HDEL', job_key(id), 'reason') end -- likewise
    local fields = { 'run_status', ARGV[i + 4], 'runs', int(job.runs + 1) }
    if reason ~= '' then fields[5], fields[6] = 'reason', reason end
    end_job(job, state, fields)
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
return reply
