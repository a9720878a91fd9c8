-- use: groups
-- Reads the groups that have settings, and those that have ready jobs.
-- ARGV  now_us, how many at most
-- Reply per group, in the order of their names: name, cap (0 = none), paused (0 | 1), live, whether ready jobs wait
local most, seen, names = tonumber(ARGV[2]), {}, {}
local function add(group)
  if seen[group] or #names >= most then return end
  seen[group] = true
  names[#names + 1] = group
end
for _, group in ipairs(redis.call('SMEMBERS', PREFIX .. 'groups')) do add(group) end
for priority = 0, 3 do
  for _, group in ipairs(redis.call('ZRANGE', PREFIX .. 'ring:' .. priority, 0, most - 1)) do add(group) end
end
table.sort(names)
local reply = {}
for _, group in ipairs(names) do
  local f = redis.call('HMGET', group_key(group), 'cap', 'paused', 'live')
  for _, value in ipairs({ group, tonumber(f[1] or 0), f[2] and 1 or 0, tonumber(f[3] or 0),
    group_waits(group) and 1 or 0 }) do
    reply[#reply + 1] = value
  end
end
return reply
