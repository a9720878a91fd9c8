-- Writes the limits of a worker's environment; a value set live stays the one in force.
-- ARGV  now_us, first (1 = the worker has just started; 0 = it only fills in what an empty Redis does not
--       know), then 2 a limit: name, value
-- Reply, flat: name and former value of each limit that another worker's environment had set otherwise
local LIMITS, changed = q.prefix .. 'limits', {}
for i = 3, #q.args, 2 do
  local before = redis.call('HGET', LIMITS, 'env:' .. q.args[i])
  if before and before ~= q.args[i + 1] and q.args[2] == '1' then
    changed[#changed + 1] = q.args[i]
    changed[#changed + 1] = before
  end
  redis.call(q.args[2] == '1' and 'HSET' or 'HSETNX', LIMITS, 'env:' .. q.args[i], q.args[i + 1])
end
return changed
