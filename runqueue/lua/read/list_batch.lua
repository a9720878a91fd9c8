-- Reads a page of a batch's job ids. ARGV  now_us, batch, from, count.   Reply: the ids
return redis.call('LRANGE', PREFIX .. 'batch_jobs:' .. ARGV[2], ARGV[3], tonumber(ARGV[3]) + tonumber(ARGV[4]) - 1)
