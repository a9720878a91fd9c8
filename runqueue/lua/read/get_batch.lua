-- use: batches waits
-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs, what its jobs wait for (waits.lua) }
return { int(NOW), redis.call('HGETALL', batch_key(ARGV[2])), batch_size(ARGV[2]), waits.of_batch(ARGV[2]) }
