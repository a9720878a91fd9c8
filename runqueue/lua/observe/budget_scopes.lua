-- flags: no-writes
-- Names what has a budget: set_budget.lua lets a thousand have one. ARGV  now_us.   Reply the scopes
return redis.call('HKEYS', q.prefix .. 'budgets')
