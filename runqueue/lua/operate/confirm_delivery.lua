-- use: counters save record webhooks deliveries
-- Receivers confirm that they have a job's result: pending | gave_up | unknown → delivered.
-- ARGV  now_us, then ids
-- Reply per job: 1 = it is delivered (now or before), 0 = the job has not ended, or has no webhook, -1 = no
--       such job
local reply = {}
expect_deliveries()
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  if not job then
    reply[#reply + 1] = -1
  elseif not job.delivery then
    reply[#reply + 1] = 0
  else
    if job.delivery ~= 'delivered' then
      end_delivery(job.id, 'delivered', nil, 'confirmed by its consumer')
      bump(totals, 'webhooks:confirmed', 1)
    end
    reply[#reply + 1] = 1
  end
end
for i = 2, #ARGV do try(record, i) end
save()
raise_damage()
return reply
