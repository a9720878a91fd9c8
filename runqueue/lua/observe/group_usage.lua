-- flags: no-writes
-- Reads what the runs of each group took (run_figures.lua). ARGV  now_us
-- Reply { of the account, what its groups have sums of: in their order, nil = none; group_sums as HGETALL }
return { redis.call('HMGET', q.prefix .. 'counters', 'steps:runs', 'ended:completed', 'ended:failed', 'ended:canceled',
  'ended:dead', 'steps', 'credits', 'cached_credits', 'credits_estimated'), redis.call('HGETALL', q.prefix .. 'group_sums') }
