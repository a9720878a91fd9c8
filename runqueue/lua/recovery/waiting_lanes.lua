-- Looks for the lanes that hold ids, through the account's keys: of those that are held nobody has a list.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to look at
-- Reply { cursor ('0' = that was all), names… }
-- A lane that is there all the while is found; one may be found twice.
local found = redis.call('SCAN', ARGV[2], 'MATCH', PREFIX .. 'lane:*', 'COUNT', ARGV[3])
local reply = { found[1] }
for _, key in ipairs(found[2]) do reply[#reply + 1] = string.sub(key, #PREFIX + 1) end
return reply
