-- use: losses
-- flags: no-writes
-- Reads the jobs of lanes, in the order of claims, whose claim a Redis under recovery may have lost.
-- ARGV  now_us, first (how many ids of each lane are skipped), count, then names, as waiting_lanes.lua returns them
-- Reply per name: { how many ids were read (fewer than `count`: that was all), then per job: id, letters (losses.lua) }
local first, reply = tonumber(q.args[2]), {}
local last = first + tonumber(q.args[3]) - 1
for i = 4, #q.args do
  reply[#reply + 1] = losses.tell_lost(q, redis.call('LRANGE', q.prefix .. q.args[i], first, last), q.args[i])
end
return reply
