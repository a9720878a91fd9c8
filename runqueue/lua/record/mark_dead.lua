-- use: counters holds save record jobs keys
-- The server refused the request for good: submitting | unconfirmed → dead (canceled if that was asked for).
-- ARGV  now_us, then 3 a job: id, attempt, reason (the server's words)
-- Reply per job: 1 = dead, 0 = not ours any more (another state or attempt)
-- Twenty refusals in a row are a mistake in the settings, not in twenty requests: submissions are held,
-- and one job a minute is tried.
local REFUSALS, HOLD = 20, 60000000
local reply, refused, words, probe_is_back = {}, 0, '', false
expect(PREFIX .. 'dead', 'zset')
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  if job and may_leave(job, ARGV[i + 1]) then
    key_limits.give_back_rate(job)
    end_without_run(job, ARGV[i + 2])
    refused, words = refused + 1, ARGV[i + 2]
    probe_is_back = probe_is_back or is_probe(job.id)
    bump(totals, 'submissions:refused', 1)
    reply[#reply + 1] = 1
  else
    bump(totals, 'fenced:mark_dead', 1)
    reply[#reply + 1] = 0
  end
end
for i = 2, #ARGV, 3 do try(record, i) end
if not count_trouble('refusals', refused, REFUSALS, HOLD, HOLD, 'refused, ' .. words) and probe_is_back then
  -- The probe has its result: the server answers, and knows the account.
  redis.call('HDEL', META, 'troubles')
  end_hold()
end
save()
raise_damage()
return reply
