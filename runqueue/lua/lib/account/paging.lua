-- Pages of sorted sets in which thousands of members may share a score.
local paging = {}

-- Returns how many entries are before '<score> <member>': members of one score are ordered by name, and the position
-- among them is found by bisection, whether or not the member still exists.
function paging.entries_before(index, score, member)
  local low = redis.call('ZCOUNT', index, '-inf', '(' .. score)
  local high = redis.call('ZCOUNT', index, '-inf', score)
  while low < high do
    local middle = math.floor((low + high) / 2)
    if redis.call('ZRANGE', index, middle, middle)[1] < member then low = middle + 1 else high = middle end
  end
  return low
end

return paging
