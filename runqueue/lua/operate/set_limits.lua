-- use: lanes
-- Sets limits live, from the next claim on: they override those of the workers' environments.
-- ARGV  now_us, then 2 a limit: name, value ('' = as the environments say; 0 = none)
-- Reply: all limits, as HGETALL (env:<name>, live:<name>)
local LIMITS = q.prefix .. 'limits'
for i = 2, #q.args, 2 do
  if q.args[i + 1] == '' then
    redis.call('HDEL', LIMITS, 'live:' .. q.args[i])
  else
    redis.call('HSET', LIMITS, 'live:' .. q.args[i], q.args[i + 1])
  end
end
if #q.args > 1 and lanes.anything_ready(q) then lanes.wake(q) end
return redis.call('HGETALL', LIMITS)
