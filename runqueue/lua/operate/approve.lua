-- use: job_record history
-- A person approves paused runs: a worker tells Skyvern (cancel_claim.lua).
-- ARGV  now_us, then ids
-- Reply per id: 1 = it will be, 0 = its run is not paused, 2 = its cancel was requested, -1 = no such job
local reply = {}
for i = 2, #q.args do
  local job, code = job_record.read(q, q.args[i]), 1
  if not job then
    code = -1
  elseif job.state ~= 'running' or job.run_status ~= 'paused' then
    code = 0
  elseif job.cancel then
    code = 2
  else
    -- Not before an approval that was sent just now has come to the record.
    local at = math.max(q.now, tonumber(job.approving_until or 0))
    local is_new = redis.call('ZADD', q.prefix .. 'cancels', 'NX', int(at), 'approve ' .. job.id) == 1
    if is_new then history.add(q, job, 'approval_asked') end
  end
  reply[#reply + 1] = code
end
return reply
