-- use: limits
-- Takes permits for calls other than submissions.
-- ARGV  now_us, want.   Reply { now_us, granted, next_us (when to ask again; 0 = all were granted) }
local want = tonumber(q.args[2])
local limit = limits.read(q)
local granted, next_us = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, want)
limits.take(q, 'request', limit.requests_per_second, granted)
if granted > 0 then redis.call('HINCRBY', q.prefix .. 'counters', 'calls:other', granted) end
return { int(q.now), granted, int(next_us) }
