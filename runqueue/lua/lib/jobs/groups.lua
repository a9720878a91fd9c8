-- Facts about groups that are not in their records, within a bounded number of commands.
local groups = {}

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

return groups
