-- Opens a batch that is held until it is sealed.
-- ARGV  now_us, batch, name.   Reply 1 = opened, 0 = it existed (a repeated call)
local key = PREFIX .. 'batch:' .. ARGV[2]
expect(key, 'hash')
expect(PREFIX .. 'batches', 'zset')
if redis.call('HSETNX', key, 'sealed', '0') == 0 then return 0 end
redis.call('HSET', key, 'created', int(NOW), 'name', ARGV[3])
redis.call('ZADD', PREFIX .. 'batches', int(NOW), ARGV[2])
redis.call('ZADD', PREFIX .. 'unsealed', int(NOW), ARGV[2])
return 1
