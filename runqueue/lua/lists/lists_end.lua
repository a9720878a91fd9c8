-- use: run_lists
-- Ends lists for a while: the server has none, or it is wrong, or too long. Runs are polled one by one.
-- ARGV  now_us, off_us (0 = the former time stays)
-- Reply: how many runs left the lists; poll_claim.lua takes the rest
if tonumber(q.args[2]) > 0 then redis.call('HSET', q.meta, 'list_off', int(q.now + tonumber(q.args[2]))) end
local n = run_lists.stop(q)
return n
