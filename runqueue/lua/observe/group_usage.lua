-- flags: no-writes
-- Reads what the runs of each group took (run_figures.lua). ARGV  now_us.   Reply: as HGETALL
return redis.call('HGETALL', q.prefix .. 'group_sums')
