-- Reads what jobs ask for, and which run is surely theirs. ARGV  now_us, then ids (<= 100)
-- Reply per id: { attempt, run_id ('' = none, or a guess, see lib/guesses.lua), body ('' = it is gone) }
--       | nil (there is no such job)
local reply = {}
for i = 2, #ARGV do
  local f = redis.call('HMGET', job_key(ARGV[i]), 'attempt', 'run_id', 'guessed')
  local is_guess = f[2] and f[3] and string.match(f[3], '^%S+') == f[2]
  reply[i - 1] = f[1] and { f[1], not is_guess and f[2] or '', redis.call('GET', PREFIX .. 'body:' .. ARGV[i]) or '' } or false
end
return reply
