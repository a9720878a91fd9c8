-- use: counters lanes save paused_groups
-- Migrates an account's state to this version's layout, in bounded steps, while older workers continue.
-- ARGV  now_us, limit (entries to walk).   Reply 1 = done, 0 = call again
-- Error NEWER <schema>: a newer version wrote here, and this one could not read it.
-- Groups that are paused are listed (paused_lanes).
-- 2 → 3: nothing to do: unpacked records are read, too. The first packed one sets 3 (pack.lua).
-- 1 → 2: unconfirmed jobs are searched (reconcile), dead ones are listed (dead). Records themselves only
--        gained fields, each with a default: those of version 1 are read as they are.
local SCHEMA = 3
local LISTED = 2
local schema = tonumber(redis.call('HGET', META, 'schema') or 1)
if schema > SCHEMA then return redis.error_reply('NEWER ' .. int(schema)) end
for _, index in ipairs({ 'dead', 'reconcile', 'unconfirmed', 'parked' }) do expect(PREFIX .. index, 'zset') end
-- Groups that were paused before `paused_lanes` existed: all groups with settings are checked, once.
if not redis.call('HGET', META, 'paused_listed') then
  expect(PREFIX .. 'groups', 'set')
  expect(PAUSED_LANES, 'set')
  local found = redis.call('SSCAN', PREFIX .. 'groups', redis.call('HGET', META, 'migrate_groups') or '0', 'COUNT', ARGV[2])
  for _, group in ipairs(found[2]) do
    if redis.call('HEXISTS', group_key(group), 'paused') == 1 then list_paused(group, true) end
  end
  if found[1] ~= '0' then
    redis.call('HSET', META, 'migrate_groups', found[1])
    return 0
  end
  redis.call('HDEL', META, 'migrate_groups')
  redis.call('HSET', META, 'paused_listed', '1')
end
-- During a rolling upgrade older workers still write entries unlisted: they are listed late, not never.
local dead = 0
for _, n in ipairs(redis.call('HMGET', COUNTERS, 'dead:0', 'dead:1', 'dead:2', 'dead:3')) do dead = dead + tonumber(n or 0) end
local waiting = redis.call('ZCARD', PREFIX .. 'unconfirmed')
local lacks_dead = redis.call('ZCARD', PREFIX .. 'dead') < dead
local lacks_doubts = redis.call('ZCARD', PREFIX .. 'reconcile') < waiting + redis.call('ZCARD', PREFIX .. 'parked')
if schema >= LISTED and not lacks_dead and not lacks_doubts then return 1 end

-- Progress is kept in meta: first the entries of `unconfirmed` and then `parked` that were walked (migrate_doubts),
-- then a day and the entries of its list. An entry is skipped if others leave before it; the next walk lists it.
local limit = tonumber(ARGV[2])
local f = redis.call('HMGET', META, 'migrate_doubts', 'migrate_day', 'migrate_at', 'retired_day')
local offset = tonumber(f[1] or 0)
if lacks_doubts and not f[2] then
  local ids = redis.call('ZRANGE', PREFIX .. 'unconfirmed', offset, offset + limit - 1)
  local start, left = math.max(0, offset - waiting), limit - #ids
  for _, id in ipairs(left > 0 and redis.call('ZRANGE', PREFIX .. 'parked', start, start + left - 1) or {}) do
    ids[#ids + 1] = id
  end
  for _, id in ipairs(ids) do redis.call('ZADD', PREFIX .. 'reconcile', 'NX', now_text(), id) end
  if #ids == limit then
    redis.call('HSET', META, 'migrate_doubts', int(offset + limit))
    return 0
  end
  limit = limit - #ids
end

local today = math.floor(NOW / DAY)
local day, at = tonumber(f[2] or f[4] or today - 8), tonumber(f[3] or 0)
if schema >= LISTED and not lacks_dead then day = today + 1 end
while limit > 0 and day <= today do
  local ids = redis.call('LRANGE', PREFIX .. 'ended:' .. int(day), at, at + limit - 1)
  for _, id in ipairs(ids) do
    local record = redis.call('HMGET', job_key(id), 'state', 'ended')
    if record[1] == 'dead' then redis.call('ZADD', PREFIX .. 'dead', record[2] or int(NOW), id) end
  end
  if #ids < limit then
    day, at = day + 1, 0
  else
    at = at + #ids
  end
  limit = limit - math.max(1, #ids)
end
if day <= today then
  redis.call('HSET', META, 'migrate_day', int(day), 'migrate_at', int(at))
  return 0
end
-- Orphan runs of older versions are in no list for retention.
if schema < LISTED then
  for _, run_id in ipairs(redis.call('HKEYS', PREFIX .. 'strays')) do ended[#ended + 1] = 'stray ' .. run_id end
  save()
end
redis.call('HDEL', META, 'migrate_doubts', 'migrate_day', 'migrate_at')
redis.call('HSET', META, 'schema', int(math.max(schema, LISTED)))
return 1
