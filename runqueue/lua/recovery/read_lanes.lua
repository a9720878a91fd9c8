-- use: losses
-- Reads the jobs of lanes, in the order of claims, whose claim a Redis under recovery may have lost.
-- ARGV  now_us, newest (0 | 1: from the ends of lanes, what came to them since claims may have been lost), first (how
--       many ids of each lane are skipped), count, then names, as waiting_lanes.lua returns them
-- Reply per name: { how many ids were read (fewer than `count`: that was all), { ids of jobs that wait… }, { of those
--                 that are searched later… }, a letter for each of these (losses.lua) }
local newest, first, reply = ARGV[2] == '1', tonumber(ARGV[3]), {}
local last = first + tonumber(ARGV[4]) - 1

-- Jobs that entered a lane since then are behind those from before.
local function from_the_end(name)
  local ids, back = redis.call('LRANGE', PREFIX .. name, -last - 1, -first - 1), {}
  for i = #ids, 1, -1 do back[#back + 1] = ids[i] end
  return back
end

for i = 5, #ARGV do
  local ids = newest and from_the_end(ARGV[i]) or redis.call('LRANGE', PREFIX .. ARGV[i], first, last)
  reply[#reply + 1] = tell_lost(ids, newest, ARGV[i])
end
return reply
