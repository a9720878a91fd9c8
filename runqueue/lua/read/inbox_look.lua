-- The counts of the account's inbox, and a page of refused lines, oldest first.
-- ARGV  now_us, start, count
-- Reply { lines that wait, lines taken, lines refused, then the page: one text each }
local start, count = tonumber(ARGV[2]), tonumber(ARGV[3])
local INVALID = PREFIX .. 'inbox:invalid'
local page = {}
if count > 0 then page = redis.call('LRANGE', INVALID, start, start + count - 1) end
return { redis.call('LLEN', PREFIX .. 'inbox'), redis.call('HLEN', PREFIX .. 'inbox:taken'),
  redis.call('LLEN', INVALID), unpack(page) }
