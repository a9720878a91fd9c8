-- Takes a pump off the board. ARGV  now_us, kind, process.   Reply: 1 = it stood there
return redis.call('ZREM', PREFIX .. 'board:' .. ARGV[2], ARGV[3])
