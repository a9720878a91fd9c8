-- use: counters save record jobs
-- Removes dead jobs for good: the record, its body, its idempotency key.
-- ARGV  now_us, then ids.   Reply per id: 1 = removed, 0 = not dead, -1 = no such job
local reply = {}
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  if not job then
    reply[#reply + 1] = -1
  elseif job.state ~= 'dead' then
    reply[#reply + 1] = 0
  else
    remove_later('dead', job.id)
    remove_record(job)
    reply[#reply + 1] = 1
  end
end
for i = 2, #ARGV do try(record, i) end
save()
raise_damage()
return reply
