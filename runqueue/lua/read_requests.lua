-- Reads what jobs ask for, and which run is surely theirs. ARGV  now_us, then ids (<= 100)
-- Reply per id: { attempt, run_id ('' = none, or a guess, see lib/guesses.lua), body ('' = it is gone) }
--       | nil (there is no such job)
local reply = {}
for i = 2, #ARGV do
  local f = redis.call('HMGET', job_key(ARGV[i]), 'state', 'attempt', 'run_id', 'guessed')
  local is_guess = f[3] and f[4] and string.match(f[4], '^%S+') == f[3]
  reply[i - 1] = f[1] and { f[2] or '0', not is_guess and f[3] or '', redis.call('GET', PREFIX .. 'body:' .. ARGV[i]) or '' } or false
end
return reply
