-- use: counters
-- Settles lines: removes them from inbox:taken; a refused one goes to inbox:invalid with its error.
-- ARGV  now_us, keep (refused lines at most; beyond that the oldest go), then 2 a line: its number ('' = it did
--       not come by the inbox), the refused line as it is kept ('' = it became a job)
-- Reply how many of the lines were still to settle: a line settled twice is refused once.
local keep = tonumber(q.args[2])
local INVALID, TAKEN, LEASES = q.prefix .. 'inbox:invalid', q.prefix .. 'inbox:taken', q.prefix .. 'inbox:leases'

local settled, refused = 0, {}
for i = 3, #q.args, 2 do
  if q.args[i] == '' or redis.call('HDEL', TAKEN, q.args[i]) == 1 then
    settled = settled + 1
    if q.args[i] ~= '' then counters.remove_later(q, 'inbox:leases', q.args[i]) end
    if q.args[i + 1] ~= '' then refused[#refused + 1] = q.args[i + 1] end
  end
end
if #refused > 0 then
  in_parts('RPUSH', INVALID, refused)
  counters.bump(q.totals, 'invalid_lines', #refused)
  local dropped = redis.call('LLEN', INVALID) - keep
  if dropped > 0 then
    redis.call('LTRIM', INVALID, dropped, -1)
    counters.bump(q.totals, 'invalid_lines_dropped', dropped)
  end
end
return settled
