-- use: counters limits
-- Takes permits for calls other than submissions.
-- ARGV  now_us, want.   Reply { now_us, granted, next_us (when to ask again; 0 = all were granted) }
pass_when_full()
local want = tonumber(ARGV[2])
local limits = read_limits()
local granted, next_us = allowed('request', limits.requests_per_second, limits.burst, want)
take('request', limits.requests_per_second, granted)
if granted > 0 then redis.call('HINCRBY', COUNTERS, 'calls:other', granted) end
return { int(NOW), granted, int(next_us) }
