-- use: job_record history pauses
-- What became of approvals that a worker sent. One that surely did not come is sent again, for ten minutes; of any other
-- failure a person is told.
-- ARGV  now_us, then 4 an approval: id, run_id, outcome ('approved' | 'not_sent' | 'failed'), why
-- Reply: how many runs were still their jobs'
local LATEST, known = 600000000, 0
local function record(i)
  local job, outcome, why = job_record.read(q, q.args[i]), q.args[i + 2], q.args[i + 3]
  if not (job and job.state == 'running' and job.run_id == q.args[i + 1]) then return end
  known = known + 1
  local asked = string.match(job.approval or '', '^sending (%d+)$')
  if outcome == 'approved' then
    history.add(q, job, 'approved')
    if asked then pauses.set_status(q, job.id, 'paused', 'running') end
  elseif asked and outcome == 'not_sent' and q.now - tonumber(asked) < LATEST then
    redis.call('HSET', job_key(q, job.id), 'approval', 'asked ' .. asked)
    return
  elseif asked then
    pauses.approval_failed(q, job, why)
  end
  redis.call('ZREM', q.prefix .. 'cancels', 'approve ' .. job.id)
  redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', int(q.now), job.id)
end
for i = 2, #q.args, 4 do record(i) end
return known
