-- flags: no-writes
-- Reads jobs' requests, and the runs that are surely theirs. ARGV  now_us, then ids (<= 100)
-- Reply per id: { attempt, run_id ('' = none, or a guess, see lib/jobs/guesses.lua), body ('' = it is gone) }
--       | nil (there is no such job, or its record is damaged)
local reply = {}
local function read(i)
  local f = read_fields(job_key(q, q.args[i]), 'state', 'attempt', 'run_id', 'guessed')
  local is_guess = f[3] and f[4] and string.match(f[4], '^%S+') == f[3]
  reply[i - 1] = f[1] and { int(number(job_key(q, q.args[i]), 'attempt', f[2]) or 0), not is_guess and f[3] or '',
    redis.call('GET', q.prefix .. 'body:' .. q.args[i]) or '' } or false
end
for i = 2, #q.args do
  if not try(q, read, i) then reply[i - 1] = false end
end
return reply
