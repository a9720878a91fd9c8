-- use: lanes
-- Sets limits live, from the next claim on: they override those of the workers' environments.
-- ARGV  now_us, then 2 a limit: name, value ('' = as the environments say; 0 = none)
-- Reply: all limits, as HGETALL (env:<name>, live:<name>)
local LIMITS = PREFIX .. 'limits'
expect(LIMITS, 'hash')
expect(PREFIX .. 'wake', 'list')
pass_when_full()
for i = 2, #ARGV, 2 do
  if ARGV[i + 1] == '' then
    redis.call('HDEL', LIMITS, 'live:' .. ARGV[i])
  else
    redis.call('HSET', LIMITS, 'live:' .. ARGV[i], ARGV[i + 1])
  end
end
if #ARGV > 1 and anything_ready() then wake() end
return redis.call('HGETALL', LIMITS)
