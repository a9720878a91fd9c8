-- use: counters holds job_record jobs key_limits
-- The server refused the request for good: submitting | unconfirmed → dead (canceled if that was asked for).
-- ARGV  now_us, then 3 a job: id, attempt, reason (the server's words)
-- Reply per job: 1 = dead, 0 = not ours any more (another state or attempt)
-- Twenty refusals in a row are a mistake in the settings, not in twenty requests: submissions are held,
-- and one job a minute is tried.
local REFUSALS, HOLD = 20, 60000000
local reply, refused, words, probe_is_back = {}, 0, '', false
local function record(i)
  local job = job_record.read(q, q.args[i])
  if job and jobs.may_leave(q, job, q.args[i + 1]) then
    key_limits.give_back_rate(q, job)
    jobs.end_without_run(q, job, q.args[i + 2])
    refused, words = refused + 1, q.args[i + 2]
    probe_is_back = probe_is_back or holds.is_probe(q, job.id)
    counters.bump(q.totals, 'submissions:refused', 1)
    reply[#reply + 1] = 1
  else
    counters.bump(q.totals, 'fenced:mark_dead', 1)
    reply[#reply + 1] = 0
  end
end
for i = 2, #q.args, 3 do record(i) end
if not holds.count_trouble(q, 'refusals', refused, REFUSALS, HOLD, HOLD, 'refused, ' .. words) and probe_is_back then
  -- The probe has its result: the server answers, and knows the account.
  redis.call('HDEL', q.meta, 'troubles')
  holds.end_hold(q)
end
return reply
