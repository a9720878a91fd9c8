-- Removes an active consumer. ARGV  now_us, stage, process.   Reply: 1 = it was active
return redis.call('ZREM', q.prefix .. 'active_consumers:' .. q.args[2], q.args[3])
