-- Removes an active consumer. ARGV  now_us, kind, process.   Reply: 1 = it was active
return redis.call('ZREM', PREFIX .. 'board:' .. ARGV[2], ARGV[3])
