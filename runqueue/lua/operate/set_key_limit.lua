-- use: lanes
-- Sets the limit of a key, or of each key with a first segment ('<segment>:*'), from the next claim on.
-- ARGV  now_us, pattern, limit ('' = none of its own, else '<at a time; -> <us between two begins; ->')
-- Reply: the limit before ('' = none)
-- Error MANY keys <most>: so many patterns have limits already.
local MOST = 10000
local LIMITS, HELD_KEYS = q.prefix .. 'key_limits', q.prefix .. 'held_keys'
local pattern, limit = q.args[2], q.args[3]
local before = redis.call('HGET', LIMITS, pattern)
if not before and limit ~= '' and redis.call('HLEN', LIMITS) >= MOST then
  return redis.error_reply('MANY keys ' .. MOST)
end
if limit == '' then redis.call('HDEL', LIMITS, pattern) else redis.call('HSET', LIMITS, pattern, limit) end
-- What waits is looked at again: one key at once, many in steps (key_limits.lua).
if string.sub(pattern, -2) == ':*' then
  if redis.call('EXISTS', HELD_KEYS) == 1 then redis.call('HSET', q.meta, 'keys_walk', '0') end
else
  redis.call('ZADD', HELD_KEYS, 'XX', int(q.now), pattern)
end
lanes.wake(q)
return before or ''
