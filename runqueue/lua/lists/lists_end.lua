-- use: save lists
-- Lists are no help, for a while: the server has none, or it is wrong, or too long. Runs are looked at one by one.
-- ARGV  now_us, off_us (0 = what was said before stays)
-- Reply: how many runs were let go; poll_claim.lua sees to those that are left
expect(LISTED, 'zset')
expect(PREFIX .. 'poll', 'zset')
pass_when_full()
if tonumber(ARGV[2]) > 0 then redis.call('HSET', META, 'list_off', int(NOW + tonumber(ARGV[2]))) end
local n = end_lists()
save()
return n
