-- Reads a batch. ARGV  now_us, batch.   Reply { now_us, HGETALL, jobs }
return { int(NOW), redis.call('HGETALL', PREFIX .. 'batch:' .. ARGV[2]),
  batch_size(ARGV[2]) }
