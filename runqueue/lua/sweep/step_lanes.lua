-- use: lanes listing
-- Takes a step for the lanes of batches of any size: lists those of a resumed batch, and removes those of a removed
-- one.
-- ARGV  now_us, limit (of steps of the sweep).   Reply: the limit = call again, else less
expect(q.prefix .. 'listing', 'hash')
expect(q.prefix .. 'dropping', 'set')
local _, listed = try(q, listing.go_on, q)
listed = listed or 0
local batch = redis.call('SRANDMEMBER', q.prefix .. 'dropping')
if batch then lanes.drop(q, batch) end
if listed > 0 and lanes.anything_ready(q) then lanes.wake(q) end
raise_damage(q)
return (listed > 0 or batch) and tonumber(q.args[2]) or 0
