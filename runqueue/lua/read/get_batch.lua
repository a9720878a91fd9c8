-- use: batches capacity paused_groups
-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs, capacity, a paused group that it waits for }
return { int(NOW), redis.call('HGETALL', batch_key(ARGV[2])), batch_size(ARGV[2]), capacity(), paused_group_of(ARGV[2]) }
