-- use: counters save
-- Settles lines: removes them from inbox:taken; a refused one goes to inbox:invalid with its error.
-- ARGV  now_us, keep (refused lines at most; beyond that the oldest go), then 2 a line: its number ('' = it did
--       not come by the inbox), the refused line as it is kept ('' = it became a job)
-- Reply how many of the lines were still to settle: a line settled twice is refused once.
local keep = tonumber(ARGV[2])
local INVALID, TAKEN, LEASES = PREFIX .. 'inbox:invalid', PREFIX .. 'inbox:taken', PREFIX .. 'inbox:leases'
expect(INVALID, 'list')
expect(TAKEN, 'hash')
expect(LEASES, 'zset')
pass_when_full()

local settled, refused = 0, {}
for i = 3, #ARGV, 2 do
  if ARGV[i] == '' or redis.call('HDEL', TAKEN, ARGV[i]) == 1 then
    settled = settled + 1
    if ARGV[i] ~= '' then remove_later('inbox:leases', ARGV[i]) end
    if ARGV[i + 1] ~= '' then refused[#refused + 1] = ARGV[i + 1] end
  end
end
if #refused > 0 then
  in_parts('RPUSH', INVALID, refused)
  bump(totals, 'invalid_lines', #refused)
  local dropped = redis.call('LLEN', INVALID) - keep
  if dropped > 0 then
    redis.call('LTRIM', INVALID, dropped, -1)
    bump(totals, 'invalid_lines_dropped', dropped)
  end
end
save()
return settled
