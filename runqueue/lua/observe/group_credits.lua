-- flags: no-writes
-- Reads the credits of each group (run_figures.lua). ARGV  now_us   Reply: group_credits as HGETALL
return redis.call('HGETALL', q.prefix .. 'group_credits')
