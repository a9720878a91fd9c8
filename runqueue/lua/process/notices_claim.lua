-- Takes what is told of an account for a while, one process at a time, and reads what no other script says.
-- ARGV  now_us, role (`worker`, or `gateway`, which tells that no worker lives), process, lease_us, late_us (an unconfirmed
--       job is told from this age on), recent_us (an ended job counts among a group's recent ones up to this age)
-- Reply { 'held', now_us, until_us }: another process tells it, or
--       { 'ok', now_us, notices (as HGETALL), unconfirmed { how many are late, the oldest, since when }, paused (as
--         ZRANGE WITHSCORES), groups { group, ended, of these failed or dead, … }, batches { id, 'over' | 'aborted',
--         since when, … } }; a gateway's ends with the notices
-- Keys: `notices` is a hash: lease:<role> ('<until> <process>'), <event>:<subject> ('<since> <over, 0 = it lasts>'),
-- sent:<URL's number>:<event>:<subject> (when it was last sent there). `watched_batches` is a zset: batches whose ends are
-- to be told, by when they were last read; field batches_from of the hash: up to which creation batches were put there,
-- since: when that began. A batch's field `noticed` says what was told of it: 'aborted' or 'over'.
local BATCHES, ENDS, PAUSED = 500, 200, 1000

local function lease_of(q, notices, role, process, lease)
  local before = redis.call('HGET', notices, 'lease:' .. role)
  local until_us, holder = string.match(before or '', '^(%d+) (.*)$')
  if holder and holder ~= process and tonumber(until_us) > q.now and tonumber(until_us) <= q.now + lease then
    return tonumber(until_us)
  end
  redis.call('HSET', notices, 'lease:' .. role, int(q.now + lease) .. ' ' .. process)
  return nil
end

local function late(q, late_us)
  local n, oldest, since = 0, '', q.now
  for _, name in ipairs({ 'unconfirmed', 'unconfirmed_no_slot' }) do
    n = n + redis.call('ZCOUNT', q.prefix .. name, '-inf', int(q.now - late_us))
    local first = redis.call('ZRANGE', q.prefix .. name, 0, 0, 'WITHSCORES')
    if first[2] and tonumber(first[2]) < since then oldest, since = first[1], tonumber(first[2]) end
  end
  return { n, oldest, int(since) }
end

-- How the last jobs of the last two days ended, by group.
local function ended(q, recent_us)
  local today, ids, groups, reply = math.floor(q.now / DAY), {}, {}, {}
  for day = today, today - 1, -1 do
    local list = redis.call('LRANGE', q.prefix .. 'ended:' .. int(day), #ids - ENDS, -1)
    for at = #list, 1, -1 do ids[#ids + 1] = list[at] end
    if #ids >= ENDS then break end
  end
  for _, id in ipairs(ids) do
    local f = redis.pcall('HMGET', job_key(q, id), 'state', 'ended', 'group')
    local is_counted = f[1] == 'completed' or f[1] == 'failed' or f[1] == 'dead'
    if is_counted and tonumber(f[2] or 0) > q.now - recent_us then
      local group = f[3] or 'default'
      local counts = groups[group] or { 0, 0 }
      groups[group] = { counts[1] + 1, counts[2] + (f[1] == 'completed' and 0 or 1) }
    end
  end
  for group, counts in pairs(groups) do
    for _, value in ipairs({ group, counts[1], counts[2] }) do reply[#reply + 1] = value end
  end
  return reply
end

-- Watches the batches that were opened meanwhile, at first all that were not over yet.
local function watch(q, notices, watched)
  local f = redis.call('HMGET', notices, 'batches_from', 'since')
  local since = tonumber(f[2] or q.now)
  if not f[2] then redis.call('HSET', notices, 'since', int(since)) end
  local found = redis.call('ZRANGEBYSCORE', q.prefix .. 'batches', f[1] or '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0,
    BATCHES)
  for at = 1, #found, 2 do
    local batch = redis.pcall('HMGET', q.prefix .. 'batch:' .. found[at], 'finished_at', 'noticed')
    if not batch.err and batch[2] ~= 'over' and tonumber(batch[1] or q.now) >= since then
      redis.call('ZADD', watched, 'NX', 0, found[at])
    end
  end
  if #found > 0 then redis.call('HSET', notices, 'batches_from', int(tonumber(found[#found]))) end
end

-- What happened to the batches that were not read for longest, and is to be told.
local function batches(q, watched)
  local reply = {}
  for _, id in ipairs(redis.call('ZRANGE', watched, 0, BATCHES - 1)) do
    local f = redis.pcall('HMGET', q.prefix .. 'batch:' .. id, 'sealed', 'held', 'finished_at', 'noticed')
    if f.err or not f[1] then
      redis.call('ZREM', watched, id)
    else
      redis.call('ZADD', watched, int(q.now), id)
      local what = f[3] and 'over' or f[2] == 'aborted' and not f[4] and 'aborted'
      if what then
        for _, value in ipairs({ id, what, f[3] or int(q.now) }) do reply[#reply + 1] = value end
      end
    end
  end
  return reply
end

local function body(q)
  local notices, watched = q.prefix .. 'notices', q.prefix .. 'watched_batches'
  local taken = lease_of(q, notices, q.args[2], q.args[3], tonumber(q.args[4]))
  if taken then return { 'held', int(q.now), int(taken) } end
  local reply = { 'ok', int(q.now), redis.call('HGETALL', notices) }
  if q.args[2] ~= 'worker' then return reply end
  watch(q, notices, watched)
  reply[4], reply[5] = late(q, tonumber(q.args[5])), redis.call('ZRANGE', q.prefix .. 'paused', 0, PAUSED - 1, 'WITHSCORES')
  reply[6], reply[7] = ended(q, tonumber(q.args[6])), batches(q, watched)
  return reply
end
