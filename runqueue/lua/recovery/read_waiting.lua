-- use: losses
-- Reads the jobs of an index, of which a Redis that is being recovered from may have lost the claim. One that is there all
-- the while is told, whatever comes, goes or moves; it may be told twice.
-- ARGV  now_us, index: 'due' (what waits for its time, unless that was still to come), 'suspects' (what waits apart, see
--       claim.lua) or 'poll' (what runs: the jobs among them that may run again), cursor ('0' = from the start), count
-- Reply { cursor ('0' = that was all), { ids of jobs that wait… }, { of those that are looked for later… } }
local found, ids = redis.call('ZSCAN', PREFIX .. ARGV[2], ARGV[3], 'COUNT', ARGV[4]), {}
for i = 1, #found[2], 2 do ids[#ids + 1] = found[2][i] end
local told = tell_lost(ids, false)
return { found[1], told[2], told[3] }
