-- flags: no-writes
-- Reads a page of a batch's job ids. ARGV  now_us, batch, from, count.   Reply: the ids
return redis.call('LRANGE', q.prefix .. 'batch_jobs:' .. q.args[2], q.args[3],
  tonumber(q.args[3]) + tonumber(q.args[4]) - 1)
