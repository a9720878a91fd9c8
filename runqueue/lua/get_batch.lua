-- use: limits capacity
-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs, capacity }
return { int(NOW), redis.call('HGETALL', batch_key(ARGV[2])), batch_size(ARGV[2]), capacity() }
