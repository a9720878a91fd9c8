-- use: job_record history pauses
-- What became of approvals that a worker sent.
-- ARGV  now_us, then 4 an approval: id, run_id, outcome ('approved' | 'not_sent': it is sent again | 'failed'), why
-- Reply: how many runs still waited for it
local known = 0
local function record(i)
  local job, outcome = job_record.read(q, q.args[i]), q.args[i + 2]
  if not (job and job.run_id == q.args[i + 1] and job.approval == 'sending') then return end
  known = known + 1
  if outcome == 'not_sent' then
    redis.call('HSET', job_key(q, job.id), 'approval', 'asked')
    return
  elseif outcome == 'approved' then
    history.add(q, job, 'approved')
    pauses.set_status(q, job.id, 'paused', 'running')
  else
    pauses.approval_failed(q, job, q.args[i + 3])
  end
  redis.call('ZREM', q.prefix .. 'cancels', 'approve ' .. job.id)
  redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', int(q.now), job.id)
end
for i = 2, #q.args, 4 do record(i) end
return known
