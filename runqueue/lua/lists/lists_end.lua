-- use: save lists
-- Ends lists for a while: the server has none, or it is wrong, or too long. Runs are polled one by one.
-- ARGV  now_us, off_us (0 = the former time stays)
-- Reply: how many runs left the lists; poll_claim.lua takes the rest
expect(LISTED, 'zset')
expect(PREFIX .. 'poll', 'zset')
pass_when_full()
if tonumber(ARGV[2]) > 0 then redis.call('HSET', META, 'list_off', int(NOW + tonumber(ARGV[2]))) end
local n = end_lists()
save()
return n
