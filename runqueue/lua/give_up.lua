-- A run that should have been canceled did not confirm its end in time: running → failed, its slot is
-- freed, and the run stays visible as a stray.
-- ARGV  now_us, then 2 a job: id, run_id
-- Reply per job: 1 = given up, 0 = it had ended meanwhile
local reply = {}
pass_when_full()
for i = 2, #ARGV, 2 do
  local job = read_job(ARGV[i])
  if job and job.state == 'running' and job.run_id == ARGV[i + 1] and job.cancel then
    remove_later('poll', job.id)
    remove_later('listed', job.id)
    remove_later('cancels', job.id)
    add_stray(job.run_id, job.id, int(job.attempt), 'cancel not confirmed')
    if job.runs > 0 then redis.call('DEL', PREFIX .. 'result:' .. job.id) end
    end_job(job, 'failed', { 'reason', job.cancel .. ' (the cancel was never confirmed)' })
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
return reply
