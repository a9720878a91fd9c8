-- use: lanes listing
-- Takes a step for the lanes of batches of any size: lists those of a resumed batch, and removes those of a removed
-- one.
-- ARGV  now_us, limit (of steps of the sweep).   Reply: the limit = call again, else less
local listed = listing.go_on(q)
local batch = redis.call('SRANDMEMBER', q.prefix .. 'dropping')
if batch then lanes.drop(q, batch) end
if listed > 0 and lanes.anything_ready(q) then lanes.wake(q) end
return (listed > 0 or batch) and tonumber(q.args[2]) or 0
