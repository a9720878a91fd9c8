-- use: counters job_record deliveries archive
-- Receivers confirm that they have a job's result: pending | abandoned | unknown → delivered.
-- ARGV  now_us, then ids
-- Reply per job: 1 = it is delivered (now or before), 0 = the job has not ended, or has no webhook, -1 = no
--       such job
local reply = {}
local function record(i)
  local job = job_record.read(q, q.args[i])
  if not job then
    reply[#reply + 1] = -1
  elseif not job.delivery then
    reply[#reply + 1] = 0
  else
    if job.delivery ~= 'delivered' then
      deliveries.end_delivery(q, job.id, 'delivered', nil, 'confirmed by its consumer')
      counters.bump(q.totals, 'webhooks:confirmed', 1)
      archive.read_again(q, job.id)
    end
    reply[#reply + 1] = 1
  end
end
for i = 2, #q.args do record(i) end
return reply
