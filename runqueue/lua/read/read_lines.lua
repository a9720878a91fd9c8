-- flags: no-writes
-- Reads a chunk of a file of lines. ARGV  now_us, name, place.   Reply: the chunk, nil = it is not stored
return redis.call('LINDEX', q.prefix .. 'schedule_lines:' .. q.args[2], q.args[3])
