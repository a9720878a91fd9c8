-- use: schedules
-- flags: no-writes
-- Reads schedules in the order of their names.
-- ARGV  now_us, name (that one; '' = a page), after (names; '' = from the first), count
-- Reply { now_us, the last name of the page ('' = there are no more), per schedule as schedules.read }
local reply, names = { int(schedules.now(q)), '' }, { q.args[2] }
if names[1] == '' then
  names = redis.call('ZRANGE', q.prefix .. 'schedules', 0, -1)
  table.sort(names)
end
local n, last = 0, ''
for _, name in ipairs(names) do
  if name > q.args[3] and redis.call('HEXISTS', schedules.key(q, name), 'version') == 1 then
    if n == tonumber(q.args[4]) then
      reply[2] = last
      break
    end
    n, last = n + 1, name
    for _, part in ipairs({ schedules.read(q, name) }) do reply[#reply + 1] = part end
  end
end
return reply
