-- flags: no-writes
-- The counts of the account's inbox, and a page of refused lines, oldest first.
-- ARGV  now_us, start, count
-- Reply { lines that wait, lines taken, lines refused, then the page: one text each }
local start, count = tonumber(q.args[2]), tonumber(q.args[3])
local INVALID = q.prefix .. 'inbox:invalid'
local page = {}
if count > 0 then page = redis.call('LRANGE', INVALID, start, start + count - 1) end
return { redis.call('LLEN', q.prefix .. 'inbox'), redis.call('HLEN', q.prefix .. 'inbox:taken'),
  redis.call('LLEN', INVALID), unpack(page) }
