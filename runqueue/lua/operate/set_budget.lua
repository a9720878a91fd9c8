-- use: lanes
-- Sets the budget of a scope (see lib/account/budgets.lua), from the next claim on. One that becomes strict has committed to it
-- what live runs may take, which began without it: that reads each live run's job, and takes as long as these are many.
-- ARGV  now_us, scope, budget ('' = none)
-- Reply: the budget before ('' = none)
-- Error MANY budgets <most>: so many scopes have budgets already.
local MOST = 1000
local BUDGETS, HELD, DEFERRED_FOR = q.prefix .. 'budgets', q.prefix .. 'held_budgets', q.prefix .. 'deferred_for'
local scope, budget = q.args[2], q.args[3]
local before = redis.call('HGET', BUDGETS, scope)
if not before and budget ~= '' and redis.call('HLEN', BUDGETS) >= MOST then
  return redis.error_reply('MANY budgets ' .. MOST)
end

local commits = {} -- by what the scope is for: { live job or 'orphan <run>', its max_steps, … }
local function commit(member, group, batch, keys, max_steps)
  if not max_steps then return end
  local function add(what)
    commits[what] = commits[what] or {}
    table.insert(commits[what], member)
    table.insert(commits[what], max_steps)
  end
  if scope == 'account' or scope == 'group:' .. group or scope == 'batch:' .. batch then return add(scope) end
  for key in string.gmatch(keys, '%S+') do
    if scope == 'key:' .. key or scope == 'key:' .. string.match(key, '^[^:]*') .. ':*' then add('key:' .. key) end
  end
end

local function commit_jobs(index)
  for _, id in ipairs(redis.call('ZRANGE', q.prefix .. index, 0, -1)) do
    local f = redis.call('HMGET', job_key(q, id), 'state', 'group', 'batch', 'keys', 'max_steps')
    if LIVE[f[1]] then commit(id, f[2] or 'default', f[3] or NO_BATCH, f[4] or '', f[5]) end
  end
end

local function commit_live()
  commit_jobs('poll')
  commit_jobs('unconfirmed')
  for _, process in ipairs(redis.call('ZRANGE', q.prefix .. 'processes', 0, -1)) do
    commit_jobs('claims:' .. process)
  end
  local takes = redis.call('HGETALL', q.prefix .. 'orphan_takes')
  for i = 1, #takes, 2 do
    local group, batch, max_steps, keys = string.match(takes[i + 1], '^(%S+) (%S+) (%S+) ?(.*)$')
    if group then commit('orphan ' .. takes[i], group, batch, keys, tonumber(max_steps) and max_steps) end
  end
  for what, members in pairs(commits) do
    local key, sum = q.prefix .. 'max_steps:' .. what, 0
    for i = 2, #members, 2 do sum = sum + tonumber(members[i]) end
    redis.call('DEL', key)
    in_parts('HSET', key, members)
    redis.call('HSET', key, 'sum', int(sum))
    redis.call('SADD', q.prefix .. 'commits', what)
  end
end

local function is_strict(text) return text and string.find(text, '^%d+ steps %a+ 1 ') end
if is_strict(budget) and not is_strict(before) then commit_live() end
if budget ~= '' then
  redis.call('HSET', BUDGETS, scope, budget)
else
  redis.call('HDEL', BUDGETS, scope)
  redis.call('HDEL', q.prefix .. 'budget_runs', scope)
  redis.call('UNLINK', q.prefix .. 'spent:' .. scope .. ':0', q.prefix .. 'spent:' .. scope .. ':0:credits')
end
-- What waits is checked again: at keys in steps (key_limits.lua).
if string.sub(scope, 1, 4) == 'key:' then
  if redis.call('EXISTS', q.prefix .. 'held_keys') == 1 then redis.call('HSET', q.meta, 'keys_walk', '0') end
else
  redis.call('ZADD', HELD, 'XX', int(q.now), scope)
end
redis.call('ZADD', DEFERRED_FOR, 'XX', int(q.now), scope) -- of a pattern's keys: when they are due
lanes.wake(q)
return before or ''
