-- use: lanes
-- Sets the budget of a scope (see lib/jobs/budgets.lua), from the next claim on.
-- ARGV  now_us, scope, budget ('' = none)
-- Reply: the budget before ('' = none)
-- Error MANY budgets <most>: so many scopes have budgets already.
local MOST = 1000
local BUDGETS, HELD = PREFIX .. 'budgets', PREFIX .. 'held_budgets'
local scope, budget = ARGV[2], ARGV[3]
expect(BUDGETS, 'hash')
expect(HELD, 'zset')
expect(PREFIX .. 'held_keys', 'zset')
expect(PREFIX .. 'over_budget', 'zset')
expect(PREFIX .. 'wake', 'list')
local before = redis.call('HGET', BUDGETS, scope)
if not before and budget ~= '' and redis.call('HLEN', BUDGETS) >= MOST then return redis.error_reply('MANY budgets ' .. MOST) end
pass_when_full()
if budget ~= '' then
  redis.call('HSET', BUDGETS, scope, budget)
else
  redis.call('HDEL', BUDGETS, scope)
  redis.call('HDEL', PREFIX .. 'budget_runs', scope)
  redis.call('UNLINK', PREFIX .. 'spent:' .. scope .. ':0')
end
-- What waits is looked at again: at keys in steps (keys.lua).
if string.sub(scope, 1, 4) == 'key:' then
  if redis.call('EXISTS', PREFIX .. 'held_keys') == 1 then redis.call('HSET', META, 'keys_walk', '0') end
else
  redis.call('ZADD', HELD, 'XX', now_text(), scope)
end
-- So are the jobs that a strict budget could never fit (promote_due.lua).
local over = redis.call('ZCARD', PREFIX .. 'over_budget')
if over > 0 then redis.call('HSET', META, 'over_budget_left', over) end
wake()
return before or ''
