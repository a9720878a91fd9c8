-- use: counters limits
-- Takes a permit for one call of the process that reads the list, and renews its lease.
-- ARGV  now_us, process, lease_us
-- Reply { now_us, granted (0 | 1; -1 = another process reads it now), next_us (when to call again) }
pass_when_full()
if redis.call('HGET', META, 'list_by') ~= ARGV[2] then return { int(NOW), -1, 0 } end
redis.call('HSET', META, 'list_until', int(NOW + tonumber(ARGV[3])))
local limits = read_limits()
local granted, next_us = allowed('request', limits.requests_per_second, limits.burst, 1)
take('request', limits.requests_per_second, granted)
if granted > 0 then redis.call('HINCRBY', COUNTERS, 'calls:list', granted) end
return { int(NOW), granted, int(next_us) }
