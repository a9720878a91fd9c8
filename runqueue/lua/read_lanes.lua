-- Reads the jobs that wait in lanes, in the order in which they would be claimed.
-- ARGV  now_us, first (how many ids of each lane are passed over), count, then names: of lanes, as waiting_lanes.lua
--       tells them, 'due' (what waits for its time), 'suspects' (what waits apart, see claim.lua), 'poll' (what runs: the
--       jobs among them that may run again)
-- Reply per name: { how many ids were read (fewer than `count`: that was all), ids of jobs that wait… }
local first, last, reply = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1, {}
for i = 4, #ARGV do
  local is_lane = string.sub(ARGV[i], 1, 5) == 'lane:'
  local ids = redis.call(is_lane and 'LRANGE' or 'ZRANGE', PREFIX .. ARGV[i], first, last)
  local found = { #ids }
  for _, id in ipairs(ids) do
    local f = redis.call('HMGET', job_key(id), 'state', 'retry')
    if f[1] == 'ready' or f[1] == 'scheduled' or (f[1] == 'running' and f[2] and ARGV[i] == 'poll') then found[#found + 1] = id end
  end
  reply[#reply + 1] = found
end
return reply
