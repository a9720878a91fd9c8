-- use: counters changes job_record jobs
-- Removes dead jobs for good: the record, its body, its idempotency key.
-- ARGV  now_us, then ids.   Reply per id: 1 = removed, 0 = not dead, -1 = no such job
counters.open(q)
local reply = {}
local function record(i)
  local job = job_record.read(q, q.args[i])
  if not job then
    reply[#reply + 1] = -1
  elseif job.state ~= 'dead' then
    reply[#reply + 1] = 0
  else
    counters.remove_later(q, 'dead', job.id)
    jobs.remove_record(q, job)
    reply[#reply + 1] = 1
  end
end
for i = 2, #q.args do try(q, record, i) end
changes.save(q)
raise_damage(q)
return reply
