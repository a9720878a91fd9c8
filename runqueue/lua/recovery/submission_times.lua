-- use: job_record
-- flags: no-writes
-- Reads when runs of ours were submitted, to compare the dates of a list with our own.
-- ARGV  now_us, then run ids (<= 100)
-- Reply { now_us, per run: { claimed_us, accepted_us } | nil: no job has the run now, or only by its request; its
--         times are not known; or the clock may have been set since then, in a gap (see clock.lua) }
local reply = { int(q.now) }
local meta = redis.call('HMGET', q.meta, 'date_before', 'dated_since')
local since = clock_is_stale(q) and q.now + DAY or tonumber(meta[1] and string.match(meta[1], '%d+$') or meta[2] or 0)
for i = 2, #q.args do
  local owner = redis.call('HGET', job_record.runs_key(q, q.args[i]), q.args[i])
  local f = owner and redis.call('HMGET', job_key(q, owner), 'run_id', 'taken', 'started', 'request_match') or {}
  local is_request_match = f[4] and string.match(f[4], '^%S+') == q.args[i]
  reply[i] = f[1] == q.args[i] and f[2] and f[3] and not is_request_match and tonumber(f[2]) >= since and { f[2], f[3] }
    or false
end
return reply
