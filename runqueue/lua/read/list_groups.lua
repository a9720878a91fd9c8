-- use: lanes groups
-- Reads the present state of groups.
-- ARGV  now_us, then the names
-- Reply per group: name, cap (0 = none), paused (0 | 1), live, whether ready jobs wait
local names = { unpack(ARGV, 2) }
local loads, reply = loads_of(names), {}
for _, group in ipairs(names) do
  local f = redis.call('HMGET', group_key(group), 'cap', 'paused', 'live')
  local live = tonumber(f[3] or 0)
  for _, value in ipairs({ group, tonumber(f[1] or 0), f[2] and 1 or 0, live,
    group_waits(group, loads[group] - live) and 1 or 0 }) do
    reply[#reply + 1] = value
  end
end
return reply
