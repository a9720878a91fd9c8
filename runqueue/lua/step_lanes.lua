-- use: server listing
-- Takes a step further what is done for the lanes of a batch of any size: lists those of one that runs again, and
-- removes those of one that is gone.
-- ARGV  now_us, limit (of steps of the sweep).   Reply: the limit = ask again, else less
expect(PREFIX .. 'listing', 'hash')
expect(PREFIX .. 'dropping', 'set')
pass_when_full()
local listed = list_more_lanes()
local batch = redis.call('SRANDMEMBER', PREFIX .. 'dropping')
if batch then drop_lanes(batch) end
if listed > 0 and anything_ready() then wake() end
return (listed > 0 or batch) and tonumber(ARGV[2]) or 0
