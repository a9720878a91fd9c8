-- use: counters lanes
-- Facts about groups that are not in their records, within a bounded number of commands.
local LANES_LOOKED_AT, LOOKS = 16, 3000
local looks_left = LOOKS

-- The first groups that have settings, then the first that have ready jobs: `most` in all.
local function some_groups(most)
  local names, seen = {}, {}
  local function add(found)
    for _, group in ipairs(found) do
      if #names >= most then return end
      if not seen[group] then
        seen[group] = true
        names[#names + 1] = group
      end
    end
  end
  add(redis.call('SSCAN', PREFIX .. 'groups', '0', 'COUNT', most)[2])
  for priority = 0, 3 do add(redis.call('ZRANGE', PREFIX .. 'ring:' .. priority, 0, most - 1)) end
  return names
end

-- How many jobs of each group are ready or take a slot.
local function loads_of(names)
  local loads = {}
  for first = 1, #names, 1000 do
    for i, load in ipairs(redis.call('ZMSCORE', PREFIX .. 'busy', unpack(names, first, math.min(first + 999, #names)))) do
      loads[names[first + i - 1]] = tonumber(load or 0)
    end
  end
  return loads
end

-- The priorities at which any job is ready.
local ready_priorities
local function priorities_in_use()
  if not ready_priorities then
    ready_priorities = {}
    for i, n in ipairs(redis.call('HMGET', COUNTERS, 'ready:0', 'ready:1', 'ready:2', 'ready:3')) do
      if tonumber(n or 0) > 0 then ready_priorities[#ready_priorities + 1] = i - 1 end
    end
  end
  return ready_priorities
end

-- Calls back with a group's running lanes, the first `most` of each priority, until the callback returns true; false =
-- the script's bound is reached.
local function each_running_lane(group, most, visit)
  for _, priority in ipairs(priorities_in_use()) do
    if looks_left <= 0 then return false end
    local lanes = redis.call('LRANGE', lanes_key(priority, group), 0, most - 1)
    looks_left = looks_left - 1 - #lanes
    for _, lane in ipairs(lanes) do
      if lane_runs(lane) and visit(lane_key(priority, group, lane)) then return true end
    end
  end
  return true
end

-- Whether a group's `ready` jobs wait to be claimed. True if the bound was reached.
local function group_waits(group, ready)
  if ready <= 0 then return false end
  local waits = false
  local all_seen = each_running_lane(group, LANES_LOOKED_AT, function()
    waits = true
    return true
  end)
  return waits or not all_seen
end
