-- use: counters lanes batches holds budgets key_limits
-- Writes a script's collected changes, key by key: a damaged key does not stop the others.
local changes = {}
-- A group with nothing ready and nothing live is not in `busy`.
local function save_load(q)
  local fewer = false
  for group, n in pairs(q.group_load) do
    if n ~= 0 then redis.call('ZINCRBY', q.prefix .. 'busy', int(n), group) end
    fewer = fewer or n < 0
  end
  if fewer then redis.call('ZREMRANGEBYSCORE', q.prefix .. 'busy', '-inf', 0) end
end

-- Adds to many fields of a hash at once: single writes would be the most expensive part of a script of a few jobs.
local function add_to(q, key, sums)
  local fields = {}
  for field, n in pairs(sums) do
    if n ~= 0 then fields[#fields + 1] = field end
  end
  if #fields == 0 then return end
  if #fields == 1 then return redis.call('HINCRBY', key, fields[1], sums[fields[1]]) end
  local pairs_of = {}
  for i, before in ipairs(redis.call('HMGET', key, unpack(fields))) do
    local is_number, sum = try(q, number, key, fields[i], before or 0)
    if is_number then
      pairs_of[#pairs_of + 1] = fields[i]
      pairs_of[#pairs_of + 1] = int(sum + sums[fields[i]])
    end
  end
  redis.call('HSET', key, unpack(pairs_of))
end

local function save_batch(q, batch, counts)
  local is_decided = false
  add_to(q, q.prefix .. 'batch:' .. batch, counts)
  for field, n in pairs(counts) do
    is_decided = is_decided or batches.decides(field, n)
  end
  -- The rate at which its jobs end counts from its first claim on: before that it waited in line.
  if (counts['count:submitting'] or 0) > 0 then
    redis.call('HSETNX', q.prefix .. 'batch:' .. batch, 'rate_at', int(q.now))
  end
  if is_decided then batches.judge(q, batch) end
end

local function save_group(q, group, n)
  local live = redis.call('HINCRBY', lanes.group_key(q, group), 'live', n)
  if n > 0 and live == n then
    redis.call('PERSIST', lanes.group_key(q, group))
  elseif live == 0 then
    lanes.expire_group(q, group)
  end
  -- A group that left the ring at its cap comes back in the script that frees a slot of it.
  if n < 0 and redis.call('HEXISTS', lanes.group_key(q, group), 'capped') == 1
    and redis.call('HEXISTS', lanes.group_key(q, group), 'paused') == 0 then
    lanes.readmit(q, group)
  end
end

local function wake_for_places(q)
  if holds.slots_are_scarce(q) and lanes.anything_ready(q) then lanes.wake(q) end
end

-- Called last by every script that changed a state.
function changes.save(q)
  for zset, members in pairs(q.removed_members) do try(q, in_parts, 'ZREM', q.prefix .. zset, members) end
  try(q, in_parts, 'RPUSH', q.prefix .. 'ended:' .. int(math.floor(q.now / DAY)), q.ended_ids)
  try(q, add_to, q, q.prefix .. 'counters', q.totals)
  try(q, add_to, q, q.prefix .. 'charged', q.charges)
  for batch, counts in pairs(q.batch_totals) do try(q, save_batch, q, batch, counts) end
  if counters.are_budgets(q) then try(q, budgets.save, q) end
  if next(q.key_moves) then try(q, key_limits.save, q) end
  try(q, save_load, q)
  for group, n in pairs(q.group_live) do try(q, save_group, q, group, n) end
  if q.freed then try(q, wake_for_places, q) end
  -- Notifies waiting clients (see listener.py), last, when nothing can fail; a user without PUBLISH is no error.
  local jobs = {}
  for _, id in ipairs(q.ended_ids) do
    if string.sub(id, 1, 6) ~= 'stray ' then jobs[#jobs + 1] = id end
  end
  for first = 1, #jobs, 1000 do
    redis.pcall('PUBLISH', q.prefix .. 'ended', table.concat(jobs, ' ', first, math.min(first + 999, #jobs)))
  end
end

return changes
