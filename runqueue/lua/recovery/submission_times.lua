-- use: record
-- Reads when runs of ours were submitted, to compare the dates of a list with our own.
-- ARGV  now_us, then run ids (<= 100)
-- Reply { now_us, per run: { claimed_us, accepted_us } | nil (no job has it now, or by a guess, or that is not known) }
local reply = { int(NOW) }
for i = 2, #ARGV do
  local owner = redis.call('HGET', runs_key(ARGV[i]), ARGV[i])
  local f = owner and redis.call('HMGET', job_key(owner), 'run_id', 'taken', 'started', 'guessed') or {}
  local is_guess = f[4] and string.match(f[4], '^%S+') == ARGV[i]
  reply[i] = f[1] == ARGV[i] and f[2] and f[3] and not is_guess and { f[2], f[3] } or false
end
return reply
