-- use: lanes groups
-- flags: no-writes
-- Reads the groups with the longest lines of ready jobs, paused ones first.
-- ARGV  now_us, groups to check, at most, lanes to check of each, at most, how many of them to return
-- Reply { how many groups have a line or settings (of those checked), per group: name, jobs in line, live,
--         max_concurrent (0 = none), paused (0 | 1) }
-- A line is the jobs in the lanes that claims take from: those of held batches do not count, and canceled jobs that no
-- claim has skipped yet do not make it longer than the group's ready jobs.
local most, lanes_each, count = tonumber(q.args[2]), tonumber(q.args[3]), tonumber(q.args[4])
local names = groups.some_groups(q, most)
local loads, lines = groups.loads_of(q, names), {}
for first = 1, #names, 1000 do
  local places = {}
  for i = first, math.min(first + 999, #names) do places[#places + 1] = '2:' .. names[i] end
  local paused = redis.call('SMISMEMBER', q.prefix .. 'paused_lanes', unpack(places))
  for i in ipairs(places) do
    local group = names[first + i - 1]
    lines[#lines + 1] = { group = group, paused = paused[i], length = loads[group] }
  end
end
local function is_before(a, b)
  if a.paused ~= b.paused then return a.paused > b.paused end
  if a.length ~= b.length then return a.length > b.length end
  return a.group < b.group
end

local function measure(line)
  local f = redis.call('HMGET', lanes.group_key(q, line.group), 'live', 'max_concurrent', 'paused')
  line.live, line.max_concurrent, line.paused = tonumber(f[1] or 0), tonumber(f[2] or 0), f[3] and 1 or 0
  local ready, standing = math.max(0, line.length - line.live), 0
  if ready > 0 then
    groups.each_running_lane(q, line.group, lanes_each, function(lane)
      standing = standing + redis.call('LLEN', lane)
    end)
  end
  line.length = math.min(standing, ready)
end

-- Groups are sorted by ready jobs and slots, which bound their lines: lines are measured until none of the other groups
-- can be longer.
table.sort(lines, is_before)
local measured, step = {}, math.max(count, 20)
local function is_enough(line)
  local before = 0
  for _, other in ipairs(measured) do
    if is_before(other, line) then before = before + 1 end
  end
  return before >= count
end
for i, line in ipairs(lines) do
  if i % step == 1 and is_enough(line) then break end
  measure(line)
  measured[i] = line
end
table.sort(measured, is_before)
local reply = { #lines }
for i = 1, math.min(count, #measured) do
  local line = measured[i]
  for _, value in ipairs({ line.group, line.length, line.live, line.max_concurrent, line.paused }) do
    reply[#reply + 1] = value
  end
end
return reply
