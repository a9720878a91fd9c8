-- flags: no-writes
-- Finds the lanes that hold ids, scanning the account's keys: there is no list of held ones.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to scan
-- Reply { cursor ('0' = that was all), names… }
-- A lane that exists all the time is found; one may be found twice.
local found = redis.call('SCAN', q.args[2], 'MATCH', q.prefix .. 'lane:*', 'COUNT', q.args[3])
local reply = { found[1] }
for _, key in ipairs(found[2]) do reply[#reply + 1] = string.sub(key, #q.prefix + 1) end
return reply
