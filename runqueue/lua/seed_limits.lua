-- Writes the limits of a worker's environment; a value set live stays the one in force.
-- ARGV  now_us, then 2 a limit: name, value.   Reply: the limits hash as HGETALL
local LIMITS = PREFIX .. 'limits'
expect(LIMITS, 'hash')
for i = 2, #ARGV, 2 do redis.call('HSET', LIMITS, 'env:' .. ARGV[i], ARGV[i + 1]) end
return redis.call('HGETALL', LIMITS)
