-- use: limits
-- Takes a permit for one call of the process that reads the list, and renews its lease.
-- ARGV  now_us, process, lease_us
-- Reply { now_us, granted (0 | 1; -1 = another process reads it now), next_us (when to call again) }
if redis.call('HGET', q.meta, 'list_by') ~= q.args[2] then return { int(q.now), -1, 0 } end
redis.call('HSET', q.meta, 'list_until', int(q.now + tonumber(q.args[3])))
local limit = limits.read(q)
local granted, next_us = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, 1)
limits.take(q, 'request', limit.requests_per_second, granted)
if granted > 0 then redis.call('HINCRBY', q.prefix .. 'counters', 'calls:list', granted) end
return { int(q.now), granted, int(next_us) }
