-- use: batches waits
-- flags: no-writes
-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs, what its jobs wait for (waits.lua) }
return { int(q.now), redis.call('HGETALL', batches.key(q, q.args[2])), batches.size(q, q.args[2]),
  waits.of_batch(q, q.args[2]) }
