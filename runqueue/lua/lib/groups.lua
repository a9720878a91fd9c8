-- What there is to know of a group beside its record.
local LANES_LOOKED_AT = 16

-- Whether ready jobs of a group wait to be claimed, in the first of its lanes of each priority.
local function group_waits(group)
  for priority = 0, 3 do
    for _, lane in ipairs(redis.call('LRANGE', lanes_key(priority, group), 0, LANES_LOOKED_AT - 1)) do
      if lane_runs(lane) then return true end
    end
  end
  return false
end
