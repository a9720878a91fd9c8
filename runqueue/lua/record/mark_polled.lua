-- use: counters job_record poll_times pauses long_queued
-- A run is still live: records its status and when to poll again. No change of state.
-- ARGV  now_us, then 6 a job: id, attempt, run_status ('' = as before), next_after_us (longer if a
--       webhook will report its end: lib/runs/poll_times.lua), begun_us (when the run's current attempt began, by our
--       clock; 0 = as before), paused_url (where a person decides on a paused run; '' = it is not paused)
-- A run that a list did not show joins the lists again at that time (poll_claim.lua).
-- Reply: how many were still running
local polls, known = {}, 0
local function record(i)
  local f = job_record.read_fields(q, q.args[i], job_record.STILL_LIVE)
  if f and f[1] == 'running' and f[2] == q.args[i + 1] then
    local after, begun = tonumber(q.args[i + 3]), tonumber(q.args[i + 4])
    if begun > 0 then redis.call('HSET', job_key(q, q.args[i]), 'begun', int(begun)) end
    local status = q.args[i + 2] ~= '' and q.args[i + 2] or f[7]
    -- A webhook reports no end of a pause.
    polls[#polls + 1] = int(status == 'paused' and q.now + after or poll_times.again(q, f, after, begun))
    polls[#polls + 1] = q.args[i]
    if q.args[i + 2] ~= '' then
      pauses.set_status(q, q.args[i], f[7], status)
      long_queued.note(q, q.args[i], f[7], status, f[4], f[6])
    end
    if q.args[i + 5] ~= '' and status == 'paused' then redis.call('HSET', job_key(q, q.args[i]), 'paused_url', q.args[i + 5]) end
    counters.remove_later(q, 'listed', q.args[i])
    known = known + 1
  end
end
for i = 2, #q.args, 6 do record(i) end
for first = 1, #polls, 2000 do
  redis.call('ZADD', q.prefix .. 'poll', 'XX', unpack(polls, first, math.min(first + 1999, #polls)))
end
return known
