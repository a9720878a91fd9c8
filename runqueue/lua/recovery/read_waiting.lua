-- use: losses
-- flags: no-writes
-- Reads the jobs of an index whose claim a Redis under recovery may have lost. A job that is there all the time is
-- returned, whatever comes, goes or moves; it may be returned twice.
-- ARGV  now_us, index: 'due' (jobs waiting for their time, unless it was still to come) or 'poll' (running jobs: those
--       that may run again), cursor ('0' = from the start), count
-- Reply { cursor ('0' = that was all), then per job: id, letters (losses.lua) }
local found, ids = redis.call('ZSCAN', q.prefix .. q.args[2], q.args[3], 'COUNT', q.args[4]), {}
for i = 1, #found[2], 2 do ids[#ids + 1] = found[2][i] end
local reply = losses.tell_lost(q, ids)
reply[1] = found[1]
return reply
