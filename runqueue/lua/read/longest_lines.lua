-- use: lanes groups
-- Reads the groups with the longest lines of ready jobs, paused ones first.
-- ARGV  now_us, groups to look at, at most, lanes to look at of each, at most, how many of them to return
-- Reply { how many groups have a line or settings (of those looked at), per group: name, jobs in line, live,
--         cap (0 = none), paused (0 | 1), damaged (0 | 1: it cannot be read) }
-- A line is what stands in the lanes that claims take from: those of held batches do not count, and canceled jobs that
-- no claim has met do not make it longer than the group has ready ones.
local most, lanes_each, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local names = some_groups(most)
local loads, lines = loads_of(names), {}
for i, group in ipairs(names) do
  local f = redis.pcall('HMGET', group_key(group), 'live', 'cap', 'paused')
  local live, cap = tonumber(f[1] or 0), tonumber(f[2] or 0)
  lines[i] = { group = group, live = live or 0, cap = cap or 0, paused = f[3] and 1 or 0,
    damaged = (f.err or not (live and cap)) and 1 or 0, length = math.max(0, loads[group] - (live or 0)) }
end
local function is_before(a, b)
  if a.paused ~= b.paused then return a.paused > b.paused end
  if a.length ~= b.length then return a.length > b.length end
  return a.group < b.group
end

-- No line is longer than the group has ready jobs: lanes are looked at until so many lines are as long as that.
table.sort(lines, is_before)
local looked, whole = {}, 0
for _, line in ipairs(lines) do
  if whole >= count then break end
  local ready, standing = line.length, 0
  if ready > 0 then
    local is_sound = try(each_running_lane, line.group, lanes_each, function(lane)
      standing = standing + redis.call('LLEN', lane)
    end)
    if not is_sound then line.damaged = 1 end
  end
  line.length = math.min(standing, ready)
  if line.length == ready then whole = whole + 1 end
  looked[#looked + 1] = line
end
table.sort(looked, is_before)
local reply = { #lines }
for i = 1, math.min(count, #looked) do
  local line = looked[i]
  for _, value in ipairs({ line.group, line.length, line.live, line.cap, line.paused, line.damaged }) do reply[#reply + 1] = value end
end
return reply
