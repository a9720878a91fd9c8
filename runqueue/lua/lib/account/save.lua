-- use: counters lanes batches holds budgets keys
-- Writes a script's collected changes, key by key: a damaged key does not stop the others.
local save
do
  -- A group with nothing ready and nothing live is not in `busy`.
  local function save_load()
    local fewer = false
    for group, n in pairs(group_load) do
      if n ~= 0 then redis.call('ZINCRBY', PREFIX .. 'busy', int(n), group) end
      fewer = fewer or n < 0
    end
    if fewer then redis.call('ZREMRANGEBYSCORE', PREFIX .. 'busy', '-inf', 0) end
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
      local is_number, sum = try(number, key, fields[i], before or 0)
      if is_number then
        pairs_of[#pairs_of + 1] = fields[i]
        pairs_of[#pairs_of + 1] = int(sum + sums[fields[i]])
      end
    end
    redis.call('HSET', key, unpack(pairs_of))
  end

  local function save_batch(batch, counts)
    local is_decided = false
    add_to(PREFIX .. 'batch:' .. batch, counts)
    for field, n in pairs(counts) do
      is_decided = is_decided or decides(field, n)
    end
    -- The rate at which its jobs end counts from its first claim on: before that it waited in line.
    if (counts['count:submitting'] or 0) > 0 then redis.call('HSETNX', PREFIX .. 'batch:' .. batch, 'rate_at', int(NOW)) end
    if is_decided then judge(batch) end
  end

  local function save_group(group, n)
    local live = redis.call('HINCRBY', group_key(group), 'live', n)
    if n > 0 and live == n then
      redis.call('PERSIST', group_key(group))
    elseif live == 0 then
      expire_group(group)
    end
    -- A group that left the ring at its cap comes back in the script that frees a slot of it.
    if n < 0 and redis.call('HEXISTS', group_key(group), 'capped') == 1
      and redis.call('HEXISTS', group_key(group), 'paused') == 0 then
      readmit(group)
    end
  end

  local function wake_for_places()
    if slots_are_scarce() and anything_ready() then wake() end
  end

  -- Called last by every script that changed a state.
  function save()
    for zset, members in pairs(removed) do try(in_parts, 'ZREM', PREFIX .. zset, members) end
    try(in_parts, 'RPUSH', PREFIX .. 'ended:' .. int(math.floor(NOW / DAY)), ended)
    try(add_to, COUNTERS, totals)
    try(add_to, CHARGED, charges)
    for batch, counts in pairs(batch_totals) do try(save_batch, batch, counts) end
    if notes.are_budgets() then try(budgets.save) end
    if next(notes.moves) then try(key_limits.save) end
    try(save_load)
    for group, n in pairs(group_live) do try(save_group, group, n) end
    if freed then try(wake_for_places) end
    -- Notifies waiting clients (see listener.py), last, when nothing can fail; a user without PUBLISH is no error.
    local jobs = {}
    for _, id in ipairs(ended) do
      if string.sub(id, 1, 6) ~= 'stray ' then jobs[#jobs + 1] = id end
    end
    for first = 1, #jobs, 1000 do
      redis.pcall('PUBLISH', PREFIX .. 'ended', table.concat(jobs, ' ', first, math.min(first + 999, #jobs)))
    end
  end
end
