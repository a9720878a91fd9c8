-- use: job_record history
-- A person decides on runs that are paused: a worker tells Skyvern (cancel_claim.lua).
-- ARGV  now_us, 'approve' | 'reject' (which cancels), then ids
-- Reply per id: 1 = it will be (asked again, too), 0 = its run is not paused, 2 = its cancel was requested, -1 = no such
--       job
local reply = {}
local function record(i)
  local job, code = job_record.read(q, q.args[i]), 1
  if not job then
    code = -1
  elseif job.state ~= 'running' or job.run_status ~= 'paused' then
    code = 0
  elseif job.cancel then
    code = 2
  elseif q.args[2] == 'reject' then
    redis.call('HSET', job_key(q, job.id), 'cancel', 'asked')
    redis.call('ZADD', q.prefix .. 'cancels', int(q.now), job.id)
    history.add(q, job, 'cancel_asked', 'a person rejected its run')
  elseif job.approval ~= 'asked' and job.approval ~= 'sending' then
    redis.call('HSET', job_key(q, job.id), 'approval', 'asked')
    redis.call('ZADD', q.prefix .. 'cancels', int(q.now), 'approve ' .. job.id)
    history.add(q, job, 'approval_asked')
  end
  reply[#reply + 1] = code
end
for i = 3, #q.args do record(i) end
return reply
