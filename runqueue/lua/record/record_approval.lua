-- use: job_record history pauses
-- What became of approvals that a worker sent.
-- ARGV  now_us, then 3 an approval: id, run_id, why it failed, or may have ('' = the run goes on)
-- Reply: how many runs still waited for it
local known = 0
local function record(i)
  local job, why = job_record.read(q, q.args[i]), q.args[i + 2]
  if not (job and job.run_id == q.args[i + 1] and job.approving_until) then return end
  known = known + 1
  if why == '' then
    history.add(q, job, 'approved')
    pauses.set_status(q, job.id, 'paused', 'running')
  else
    history.add(q, job, 'approval_failed', why)
  end
  redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', int(q.now), job.id)
end
for i = 2, #q.args, 3 do record(i) end
return known
