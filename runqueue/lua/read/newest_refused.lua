-- flags: no-writes
-- The newest refused lines, for the page.
-- ARGV  now_us, count, bytes (reading stops once there are so many)
-- Reply { lines refused in all, then the newest of them, the newest first: one text each }
local count, left = tonumber(q.args[2]), tonumber(q.args[3])
local INVALID = q.prefix .. 'inbox:invalid'
local reply = { redis.call('LLEN', INVALID) }
for at = 1, math.min(count, reply[1]) do
  if left <= 0 then break end
  local refused = redis.call('LINDEX', INVALID, -at)
  reply[#reply + 1] = refused
  left = left - #refused
end
return reply
