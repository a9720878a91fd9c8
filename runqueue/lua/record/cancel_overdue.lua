-- use: job_record history
-- Cancels runs that took longer than allowed, if each is still its job's: a late call ends no later run, and no waiting
-- job.
-- ARGV  now_us, then 4 a job: id, attempt, run_id, why (what the job fails with)
-- Reply: how many still ran
local known = 0
local function record(i)
  local job, why = job_record.read(q, q.args[i]), q.args[i + 3]
  if not (job and job.state == 'running' and job.attempt == tonumber(q.args[i + 1])
    and job.run_id == q.args[i + 2]) then
    return
  end
  if redis.call('HSETNX', job_key(q, job.id), 'cancel', why) == 1 then history.add(q, job, 'cancel_asked', why) end
  redis.call('ZADD', q.prefix .. 'cancels', 'NX', int(q.now), job.id)
  known = known + 1
end
for i = 2, #q.args, 4 do record(i) end
return known
