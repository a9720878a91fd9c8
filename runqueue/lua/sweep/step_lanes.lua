-- use: lanes listing
-- Takes a step for the lanes of batches of any size: lists those of a resumed batch, and removes those of a removed
-- one.
-- ARGV  now_us, limit (of steps of the sweep).   Reply: the limit = call again, else less
expect(PREFIX .. 'listing', 'hash')
expect(PREFIX .. 'dropping', 'set')
pass_when_full()
local _, listed = try(list_more_lanes)
listed = listed or 0
local batch = redis.call('SRANDMEMBER', PREFIX .. 'dropping')
if batch then drop_lanes(batch) end
if listed > 0 and anything_ready() then wake() end
raise_damage()
return (listed > 0 or batch) and tonumber(ARGV[2]) or 0
