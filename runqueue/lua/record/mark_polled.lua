-- use: counters job_record webhooks trust
-- A run is still live: records its status and when to poll again. No change of state.
-- ARGV  now_us, then 5 a job: id, attempt, run_status ('' = as before), next_after_us (longer if a
--       webhook will report its end: a quarter of its age, but not beyond the job's own `max_run`), begun_us (when the
--       run's current attempt began, by our clock; 0 = as before)
-- A run that a list did not show joins the lists again at that time (poll_claim.lua).
-- Reply: how many were still running
local polls, known = {}, 0
local function record(i)
  local f = job_record.read_fields(q, q.args[i], job_record.STILL_LIVE)
  if f and f[1] == 'running' and f[2] == q.args[i + 1] then
    local after, begun = tonumber(q.args[i + 3]), tonumber(q.args[i + 4])
    if begun > 0 then redis.call('HSET', job_key(q, q.args[i]), 'begun', int(begun)) end
    if webhooks.comes_to_us({ webhook_route = f[3] }) and trust.grace(q) > 0 then
      local since = math.max(tonumber(f[4]), tonumber(f[6] or 0), begun)
      local left = f[5] and since + tonumber(f[5]) - q.now or math.huge
      after = math.max(after, math.min(math.floor((q.now - tonumber(f[4])) / 4), left))
    end
    polls[#polls + 1] = int(q.now + after)
    polls[#polls + 1] = q.args[i]
    if q.args[i + 2] ~= '' then redis.call('HSET', job_key(q, q.args[i]), 'run_status', q.args[i + 2]) end
    counters.remove_later(q, 'listed', q.args[i])
    known = known + 1
  end
end
for i = 2, #q.args, 5 do record(i) end
for first = 1, #polls, 2000 do
  redis.call('ZADD', q.prefix .. 'poll', 'XX', unpack(polls, first, math.min(first + 1999, #polls)))
end
return known
