-- use: groups
-- Reads the groups with the longest lines of ready jobs, paused ones first.
-- ARGV  now_us, groups to look at, at most, lanes to look at of each, at most, how many of them to return
-- Reply { how many groups have a line or settings (of those looked at), per group: name, jobs in line, live,
--         cap (0 = none), paused (0 | 1) }
-- A line is what stands in the lanes that claims take from: those of held batches do not count, and canceled jobs that
-- no claim has met do not make it longer than the group has ready ones.
local most, lanes_each, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local names = some_groups(most)
local loads, lines = loads_of(names), {}
for i, group in ipairs(names) do
  local f = redis.call('HMGET', group_key(group), 'live', 'cap', 'paused')
  local line = { group = group, live = tonumber(f[1] or 0), cap = tonumber(f[2] or 0), paused = f[3] and 1 or 0, length = 0 }
  local ready = math.max(0, loads[group] - line.live)
  if ready > 0 then
    each_running_lane(group, lanes_each, function(lane) line.length = line.length + redis.call('LLEN', lane) end)
  end
  line.length = math.min(line.length, ready)
  lines[i] = line
end
table.sort(lines, function(a, b)
  if a.paused ~= b.paused then return a.paused > b.paused end
  if a.length ~= b.length then return a.length > b.length end
  return a.group < b.group
end)
local reply = { #lines }
for i = 1, math.min(count, #lines) do
  local line = lines[i]
  for _, value in ipairs({ line.group, line.length, line.live, line.cap, line.paused }) do reply[#reply + 1] = value end
end
return reply
