-- Brings an account's state up to this version's layout, in bounded steps, while older workers go on.
-- ARGV  now_us, limit (entries to walk).   Reply 1 = done, 0 = ask again
-- Error NEWER <schema>: a newer version wrote here, and this one would not know what it reads.
-- 2 → 3: nothing to do: records are read as they came, too. The first that is packed says 3 (pack.lua).
-- 1 → 2: unconfirmed jobs are looked for (reconcile), dead ones are listed (dead). Records themselves only
--        gained fields, each with a default: those of version 1 are read as they are.
local SCHEMA = 3
local LISTED = 2
local schema = tonumber(redis.call('HGET', META, 'schema') or 1)
if schema > SCHEMA then return redis.error_reply('NEWER ' .. int(schema)) end
-- During a rolling upgrade older workers go on making what this version lists: it is listed late, not never.
local function is_complete()
  local dead = 0
  for priority = 0, 3 do dead = dead + tonumber(redis.call('HGET', COUNTERS, 'dead:' .. priority) or 0) end
  return redis.call('ZCARD', PREFIX .. 'dead') >= dead and redis.call('ZCARD', PREFIX .. 'reconcile')
    >= redis.call('ZCARD', PREFIX .. 'unconfirmed') + redis.call('ZCARD', PREFIX .. 'parked')
end
if schema >= LISTED and is_complete() then return 1 end
expect(PREFIX .. 'reconcile', 'zset')
expect(PREFIX .. 'dead', 'zset')

local limit = tonumber(ARGV[2])
for _, index in ipairs({ 'unconfirmed', 'parked' }) do
  for _, id in ipairs(redis.call('ZRANGE', PREFIX .. index, 0, -1)) do
    redis.call('ZADD', PREFIX .. 'reconcile', 'NX', int(NOW), id)
  end
end

local today = math.floor(NOW / DAY)
local f = redis.call('HMGET', META, 'migrate_day', 'migrate_at', 'retired_day')
local day, at = tonumber(f[1] or f[3] or today - 8), tonumber(f[2] or 0)
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
-- Strays of before stand in no list of what is to be forgotten.
if schema < LISTED then
  for _, run_id in ipairs(redis.call('HKEYS', PREFIX .. 'strays')) do ended[#ended + 1] = 'stray ' .. run_id end
  save()
end
redis.call('HDEL', META, 'migrate_day', 'migrate_at')
redis.call('HSET', META, 'schema', int(math.max(schema, LISTED)))
return 1
