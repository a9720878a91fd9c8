-- use: batches
-- Notifications: records what was sent, and reads what there is to send; one process at a time.
-- ARGV  now_us, process, lease_us, late_us (unconfirmed jobs are read from this age on), recent_us (ended jobs are
--       counted up to this age), then what was sent, in pairs: field of `notices`, value ('' = nothing is left to send)
-- Reply { now_us }: another process has the lease, and nothing was recorded; or { now_us, notices (as HGETALL),
--       conditions { <event>:<subject>, since_us (0 = not known), jobs, of these failed or dead, … } }
-- `notices` is a hash: lease ('<until> <process>'), <event>:<subject> ('<since> <when it was last sent>').
local MOST, ENDS = 1000, 200

local function take_lease(q, notices, process, lease)
  local until_us, holder = string.match(redis.call('HGET', notices, 'lease') or '', '^(%d+) (.*)$')
  until_us = tonumber(until_us or 0)
  if holder ~= process and until_us > q.now and until_us <= q.now + lease then return false end
  redis.call('HSET', notices, 'lease', int(q.now + lease) .. ' ' .. process)
  return true
end

local function add(reply, key, since, jobs, bad)
  for _, value in ipairs({ key, since, jobs or 0, bad or 0 }) do reply[#reply + 1] = value end
end

local function add_each(q, reply, event, zset)
  local found = redis.call('ZRANGE', q.prefix .. zset, 0, MOST - 1, 'WITHSCORES')
  for at = 1, #found, 2 do
    local batch = string.match(found[at], '^batch_%a+:(.*)$')
    local read = batch and batches.read(q, batch) or {}
    add(reply, event .. found[at], int(tonumber(found[at + 1])), read.ended, read.bad)
  end
end

local function add_late(q, reply, late)
  local n, first = 0, math.huge
  for _, name in ipairs({ 'unconfirmed', 'unconfirmed_no_slot' }) do
    n = n + redis.call('ZCOUNT', q.prefix .. name, '-inf', int(late))
    first = math.min(first, tonumber(redis.call('ZRANGE', q.prefix .. name, 0, 0, 'WITHSCORES')[2] or first))
  end
  if n > 0 then add(reply, 'unconfirmed:', int(first), n) end
end

-- How the last jobs of each day ended, by group, and when the last of these did.
local function add_groups(q, reply, from)
  local groups = {}
  for day = math.floor(from / DAY), math.floor(q.now / DAY) do
    for _, id in ipairs(redis.call('LRANGE', q.prefix .. 'ended:' .. int(day), -ENDS, -1)) do
      local f = redis.pcall('HMGET', job_key(q, id), 'state', 'ended', 'group')
      if ENDED[f[1] or ''] and f[1] ~= 'canceled' and tonumber(f[2] or 0) > from then
        local counts = groups[f[3] or 'default'] or { 0, 0 }
        groups[f[3] or 'default'] = { counts[1] + 1, counts[2] + (f[1] == 'completed' and 0 or 1), tonumber(f[2]) }
      end
    end
  end
  for group, counts in pairs(groups) do add(reply, 'failures:' .. group, int(counts[3]), counts[1], counts[2]) end
end

local function body(q)
  local notices, found = q.prefix .. 'notices', {}
  if not take_lease(q, notices, q.args[2], tonumber(q.args[3])) then return { int(q.now) } end
  for at = 6, #q.args, 2 do
    if q.args[at + 1] == '' then
      redis.call('HDEL', notices, q.args[at])
      redis.call('ZREM', q.prefix .. 'batch_ends', q.args[at])
    else
      redis.call('HSET', notices, q.args[at], q.args[at + 1])
    end
  end
  -- Once no process sends any more, they are old news.
  for _, name in ipairs({ 'notices', 'batch_ends' }) do redis.call('PEXPIRE', q.prefix .. name, int(DAY / 1000)) end
  add_late(q, found, q.now - tonumber(q.args[4]))
  add_each(q, found, 'needs_person:', 'paused')
  add_groups(q, found, q.now - tonumber(q.args[5]))
  add_each(q, found, '', 'batch_ends')
  return { int(q.now), redis.call('HGETALL', notices), found }
end
