-- use: losses
-- Reads the jobs that wait, of which a Redis that is being recovered from may have lost the claim: those of lanes in the
-- order in which they would be claimed.
-- ARGV  now_us, first (how many ids of each lane are passed over), count, then names: of lanes, as waiting_lanes.lua
--       tells them, 'due' (what waits for its time, unless that was still to come), 'suspects' (what waits apart, see
--       claim.lua), 'poll' (what runs: the jobs among them that may run again)
-- Reply per name: { how many ids were read (fewer than `count`: that was all), ids of jobs that wait… }
local first, last, reply = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1, {}
local recover = redis.call('HMGET', META, 'recover_from', 'recover_since')
local from, since = tonumber(recover[1] or 0), tonumber(recover[2] or 0)

local function comes_into_question(name, id)
  local f = redis.call('HMGET', job_key(id), 'state', 'retry')
  if f[1] == 'running' then return f[2] and name == 'poll' end
  return f[1] == 'ready' or (f[1] == 'scheduled' and was_due_then(id, from, since))
end

for i = 4, #ARGV do
  local is_lane = string.sub(ARGV[i], 1, 5) == 'lane:'
  local ids = redis.call(is_lane and 'LRANGE' or 'ZRANGE', PREFIX .. ARGV[i], first, last)
  local found = { #ids }
  for _, id in ipairs(ids) do
    if comes_into_question(ARGV[i], id) then found[#found + 1] = id end
  end
  reply[#reply + 1] = found
end
return reply
