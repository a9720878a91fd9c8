-- Pages of sorted sets whose members may have one score by the thousand.

-- Returns how many entries are before '<score> <member>': members of one score are in the order of their names, and the
-- place among them is found by halving, whether the member is still there or not.
local function entries_before(index, score, member)
  local low = redis.call('ZCOUNT', index, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', index, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', index, middle, middle)[1] < member then low = middle + 1 else high = middle end
  end
  return low
end
