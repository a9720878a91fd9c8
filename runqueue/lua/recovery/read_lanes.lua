-- use: losses
-- Reads the jobs of lanes, in the order of claims, whose claim a Redis under recovery may have lost.
-- ARGV  now_us, first (how many ids of each lane are skipped), count, then names, as waiting_lanes.lua returns them
-- Reply per name: { how many ids were read (fewer than `count`: that was all), then per job: id, letters (losses.lua) }
local first, reply = tonumber(ARGV[2]), {}
local last = first + tonumber(ARGV[3]) - 1
for i = 4, #ARGV do
  reply[#reply + 1] = tell_lost(redis.call('LRANGE', PREFIX .. ARGV[i], first, last), ARGV[i])
end
return reply
