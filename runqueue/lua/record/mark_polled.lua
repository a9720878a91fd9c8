-- use: counters save webhooks trust
-- A run is still live: records its status and when to poll again. No change of state.
-- ARGV  now_us, then 5 a job: id, attempt, run_status ('' = as before), next_after_us (longer if a
--       webhook will report its end: a quarter of its age, but not beyond the job's own `max_run`), begun_us (when the
--       run's current attempt began, by our clock; 0 = as before)
-- A run that a list did not show joins the lists again at that time (poll_claim.lua).
-- Reply: how many were still running
local polls, known = {}, 0
pass_when_full()
local function record(i)
  local f = read_fields(job_key(ARGV[i]), 'state', 'attempt', 'via', 'started', 'max_run', 'begun')
  if f[1] == 'running' and f[2] == ARGV[i + 1] then
    local after, begun = tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
    if begun > 0 then redis.call('HSET', job_key(ARGV[i]), 'begun', int(begun)) end
    if comes_to_us({ via = f[3] }) and patience() > 0 then
      local since = math.max(tonumber(f[4]), tonumber(f[6] or 0), begun)
      local left = f[5] and since + tonumber(f[5]) - NOW or math.huge
      after = math.max(after, math.min(math.floor((NOW - tonumber(f[4])) / 4), left))
    end
    polls[#polls + 1] = int(NOW + after)
    polls[#polls + 1] = ARGV[i]
    if ARGV[i + 2] ~= '' then redis.call('HSET', job_key(ARGV[i]), 'run_status', ARGV[i + 2]) end
    remove_later('listed', ARGV[i])
    known = known + 1
  else
    number(job_key(ARGV[i]), 'attempt', f[2])
  end
end
for i = 2, #ARGV, 5 do try(record, i) end
for first = 1, #polls, 2000 do
  redis.call('ZADD', PREFIX .. 'poll', 'XX', unpack(polls, first, math.min(first + 1999, #polls)))
end
save()
raise_damage()
return known
