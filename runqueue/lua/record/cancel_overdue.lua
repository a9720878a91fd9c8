-- use: save record trail
-- Cancels runs that took longer than allowed, if each is still its job's: a late call ends no later run, and no waiting
-- job.
-- ARGV  now_us, then 4 a job: id, attempt, run_id, why (what the job fails with)
-- Reply: how many still ran
local known = 0
expect(PREFIX .. 'cancels', 'zset')
pass_when_full()
local function record(i)
  local job, why = read_job(ARGV[i]), ARGV[i + 3]
  if not (job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == ARGV[i + 2]) then
    return
  end
  if redis.call('HSETNX', job_key(job.id), 'cancel', why) == 1 then note_step(job, 'cancel_asked', why) end
  redis.call('ZADD', PREFIX .. 'cancels', 'NX', int(NOW), job.id)
  known = known + 1
end
for i = 2, #ARGV, 4 do try(record, i) end
save()
raise_damage()
return known
