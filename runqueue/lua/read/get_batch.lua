-- use: batches capacity waits
-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs, capacity, what its jobs wait for (waits.lua) }
return { int(NOW), redis.call('HGETALL', batch_key(ARGV[2])), batch_size(ARGV[2]), capacity(), waits.of_batch(ARGV[2]) }
