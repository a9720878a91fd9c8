-- use: job_record
-- flags: no-writes
-- Reads jobs' requests, and the runs that are surely theirs. ARGV  now_us, then ids (<= 100)
-- Reply per id: { attempt, run_id ('' = none, or a match by request, see lib/runs/request_matches.lua), body ('' = it
-- is gone) }
--       | nil (there is no such job)
local reply = {}
for i = 2, #q.args do
  local f = job_record.read_fields(q, q.args[i], job_record.REQUEST)
  local is_request_match = f and f[3] and f[4] and string.match(f[4], '^%S+') == f[3]
  reply[i - 1] = f and { int(tonumber(f[2] or 0)), not is_request_match and f[3] or '',
    redis.call('GET', q.prefix .. 'body:' .. q.args[i]) or '' } or false
end
return reply
