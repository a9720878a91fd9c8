-- use: lanes
-- Facts about groups that are not in their records, within a bounded number of commands.
local groups = {}
local LANES_LOOKED_AT = 16

-- The first groups that have settings, then the first that have ready jobs: `most` in all.
function groups.some_groups(q, most)
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
  add(redis.call('SSCAN', q.prefix .. 'groups', '0', 'COUNT', most)[2])
  for priority = 0, 3 do add(redis.call('ZRANGE', q.prefix .. 'ring:' .. priority, 0, most - 1)) end
  return names
end

-- How many jobs of each group are ready or take a slot.
function groups.loads_of(q, names)
  local loads = {}
  for first = 1, #names, 1000 do
    local scores = redis.call('ZMSCORE', q.prefix .. 'busy', unpack(names, first, math.min(first + 999, #names)))
    for i, load in ipairs(scores) do
      loads[names[first + i - 1]] = tonumber(load or 0)
    end
  end
  return loads
end

-- The priorities at which any job is ready.
local function priorities_in_use(q)
  if not q.ready_priorities then
    q.ready_priorities = {}
    for i, n in ipairs(redis.call('HMGET', q.prefix .. 'counters', 'ready:0', 'ready:1', 'ready:2', 'ready:3')) do
      if tonumber(n or 0) > 0 then q.ready_priorities[#q.ready_priorities + 1] = i - 1 end
    end
  end
  return q.ready_priorities
end

-- Calls back with a group's running lanes, the first `most` of each priority, until the callback returns true; false =
-- the script's bound is reached.
function groups.each_running_lane(q, group, most, visit)
  for _, priority in ipairs(priorities_in_use(q)) do
    if q.lane_looks_left <= 0 then return false end
    local names = redis.call('LRANGE', lanes.list_key(q, priority, group), 0, most - 1)
    q.lane_looks_left = q.lane_looks_left - 1 - #names
    for _, lane in ipairs(names) do
      if lanes.runs(q, lane) and visit(lanes.key(q, priority, group, lane)) then return true end
    end
  end
  return true
end

-- Whether a group's `ready` jobs wait to be claimed. True if the bound was reached.
function groups.group_waits(q, group, ready)
  if ready <= 0 then return false end
  local waits = false
  local all_seen = groups.each_running_lane(q, group, LANES_LOOKED_AT, function()
    waits = true
    return true
  end)
  return waits or not all_seen
end

return groups
