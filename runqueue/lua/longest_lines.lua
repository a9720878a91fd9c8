-- Reads the groups with the longest lines of ready jobs, paused ones first.
-- ARGV  now_us, groups to look at, at most, lanes to look at of each, at most, how many of them to return
-- Reply { how many groups have a line or settings (of those looked at), per group: name, jobs in line, live,
--         cap (0 = none), paused (0 | 1) }
-- A line is what stands in the lanes that claims take from: those of held batches do not count, and canceled jobs that
-- no claim has met do not make it longer than the group has ready ones.
local most, lanes_each, count = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local length, load, paused, names = {}, {}, {}, {}
local function add(group)
  if length[group] or #names >= most then return end
  length[group] = 0
  names[#names + 1] = group
  for priority = 0, 3 do
    for _, lane in ipairs(redis.call('LRANGE', lanes_key(priority, group), 0, lanes_each - 1)) do
      if lane_runs(lane) then length[group] = length[group] + redis.call('LLEN', lane_key(priority, group, lane)) end
    end
  end
  if length[group] > 0 then
    load[group] = tonumber(redis.call('ZSCORE', PREFIX .. 'busy', group) or 0)
    length[group] = math.min(length[group], load[group])
  end
end

for _, group in ipairs(redis.call('SMEMBERS', PREFIX .. 'groups')) do
  add(group)
  paused[group] = redis.call('HEXISTS', group_key(group), 'paused') == 1
end
for priority = 0, 3 do
  for _, group in ipairs(redis.call('ZRANGE', PREFIX .. 'ring:' .. priority, 0, most - 1)) do add(group) end
end
table.sort(names, function(a, b)
  if (paused[a] or false) ~= (paused[b] or false) then return paused[a] end
  if length[a] ~= length[b] then return length[a] > length[b] end
  return a < b
end)
local reply = { #names }
for i = 1, math.min(count, #names) do
  local f = redis.call('HMGET', group_key(names[i]), 'live', 'cap', 'paused')
  local ready = math.max(0, math.min(length[names[i]], (load[names[i]] or 0) - tonumber(f[1] or 0)))
  for _, value in ipairs({ names[i], ready, tonumber(f[1] or 0), tonumber(f[2] or 0), f[3] and 1 or 0 }) do
    reply[#reply + 1] = value
  end
end
return reply
