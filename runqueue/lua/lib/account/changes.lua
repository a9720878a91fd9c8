-- use: lanes batches holds budgets key_limits webhook_health runs run_lists webhooks
-- The end of each call that writes. A script has no rollback, so what it counts, takes and grants is collected in the
-- context, and written here, whatever happened before: if an error ends the script, that of the jobs before it, and
-- what a claim took out of a lane goes back. The caller gets the error, and may call again.
-- A record that cannot be read (job_record.lua) is quarantined, and counts as gone from the next call on: it stops
-- nobody.
local changes = {}

-- One step of `save`. An error of one is raised at the end: the others are made.
local function step(q, act, ...)
  local is_done, err = pcall(act, ...)
  if not is_done then q.failed = q.failed or err end
end

-- Takes what was collected out of the context: a script may save more than once.
local NOTHING = {}
local function taken(q, name)
  local collected = rawget(q, name)
  if not collected then return NOTHING end
  q[name] = nil
  return collected
end

-- A group with nothing ready and nothing live is not in `busy`.
local function save_load(q, load)
  local fewer = false
  for group, n in pairs(load) do
    if n ~= 0 then redis.call('ZINCRBY', q.prefix .. 'busy', int(n), group) end
    fewer = fewer or n < 0
  end
  if fewer then redis.call('ZREMRANGEBYSCORE', q.prefix .. 'busy', '-inf', 0) end
end

-- Adds to many fields of a hash at once: single writes would be the most expensive part of a script of a few jobs.
local function add_to(key, sums)
  local fields = {}
  for field, n in pairs(sums) do
    if n ~= 0 then fields[#fields + 1] = field end
  end
  if #fields == 0 then return end
  if #fields == 1 then return redis.call('HINCRBY', key, fields[1], sums[fields[1]]) end
  local pairs_of = {}
  for i, before in ipairs(redis.call('HMGET', key, unpack(fields))) do
    pairs_of[#pairs_of + 1] = fields[i]
    pairs_of[#pairs_of + 1] = int(tonumber(before or 0) + sums[fields[i]])
  end
  redis.call('HSET', key, unpack(pairs_of))
end

local function save_batch(q, batch, counts)
  local is_decided = false
  add_to(q.prefix .. 'batch:' .. batch, counts)
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
  local key = lanes.group_key(q, group)
  local live = redis.call('HINCRBY', key, 'live', n)
  if n > 0 and live == n then redis.call('PERSIST', key) end
  if n >= 0 then return end
  local f = redis.call('HMGET', key, 'max_concurrent', 'paused', 'capped')
  if live == 0 and not f[1] and not f[2] then redis.call('EXPIRE', key, lanes.GROUP_STAYS) end
  -- A group that left the ring at its cap comes back in the script that frees a slot of it.
  if f[3] and not f[2] then lanes.readmit(q, group) end
end

local function wake_for_places(q)
  if lanes.anything_ready(q) and holds.slots_are_scarce(q) then lanes.wake(q) end
end

-- Writes what the script collected. Scripts that go on with what is written call it themselves.
function changes.save(q)
  if q.at_end then step(q, q.at_end) end
  q.at_end = nil
  for zset, members in pairs(taken(q, 'put_members')) do step(q, in_parts, 'ZADD', q.prefix .. zset, members) end
  for zset, members in pairs(taken(q, 'removed_members')) do step(q, in_parts, 'ZREM', q.prefix .. zset, members) end
  if q.adopted_runs > 0 then step(q, runs.note_adopted, q) end
  local ended = taken(q, 'ended_ids')
  if #ended > 0 then step(q, in_parts, 'RPUSH', q.prefix .. 'ended:' .. int(math.floor(q.now / DAY)), ended) end
  step(q, add_to, q.prefix .. 'counters', taken(q, 'totals'))
  step(q, add_to, q.prefix .. 'quota_use', taken(q, 'charges'))
  for batch, counts in pairs(taken(q, 'batch_totals')) do step(q, save_batch, q, batch, counts) end
  step(q, add_to, q.prefix .. 'group_credits', taken(q, 'group_credits'))
  if rawget(q, 'step_commits') or rawget(q, 'step_spends') then
    step(q, budgets.save, q, taken(q, 'step_commits'), taken(q, 'step_spends'))
  end
  for key, members in pairs(taken(q, 'key_moves')) do step(q, key_limits.save_moves, q, key, members) end
  if rawget(q, 'freed_keys') then step(q, key_limits.offer_freed, q, taken(q, 'freed_keys')) end
  step(q, save_load, q, taken(q, 'group_load'))
  for group, n in pairs(taken(q, 'group_live')) do step(q, save_group, q, group, n) end
  if rawget(q, 'list_joins') then step(q, run_lists.save_joins, q) end
  step(q, webhook_health.save, q)
  if q.freed then step(q, wake_for_places, q) end
  if q.relays_due then step(q, webhooks.wake, q) end
  q.freed, q.relays_due = false, false
  -- Notifies waiting clients (see listener.py); a user without PUBLISH is no error.
  local jobs = {}
  for _, id in ipairs(ended) do
    if string.sub(id, 1, 7) ~= 'orphan ' then jobs[#jobs + 1] = id end
  end
  for first = 1, #jobs, 1000 do
    redis.pcall('PUBLISH', q.prefix .. 'ended', table.concat(jobs, ' ', first, math.min(first + 999, #jobs)))
  end
end

-- Runs the body of a script that may write.
function changes.run(body, keys, args)
  local q = open(keys, args)
  local is_done, reply = pcall(body, q)
  if not is_done then q.failed = reply end
  changes.save(q)
  if not q.failed then return reply end
  if q.unreadable then redis.call('ZADD', q.prefix .. 'quarantined', 'NX', int(q.now), q.unreadable) end
  error(q.failed, 0)
end

return changes
