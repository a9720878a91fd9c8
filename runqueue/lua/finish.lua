-- use: runs trust
-- A run is over: running → completed | failed | canceled. A result is recorded once.
-- ARGV  now_us, then 7 a job: id, attempt, run_id, state, run_status, reason, result (the answer as
--       it came; '' = none is known)
-- Reply per job: 1 = recorded, 0 = over already, or another run is the job's
local reply = {}
expect_deliveries()
pass_when_full()
for i = 2, #ARGV, 7 do
  local job = read_job(ARGV[i])
  if job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == ARGV[i + 2] then
    if comes_to_us(job) and not job.cancel then webhook_missed(job) end
    run_took(job)
    end_with_run(job, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6], '')
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
save_trust()
return reply
