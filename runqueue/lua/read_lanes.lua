-- use: losses
-- Reads the jobs that wait, of which a Redis that is being recovered from may have lost the claim: those of lanes in the
-- order in which they would be claimed.
-- ARGV  now_us, first (how many ids of each lane are passed over), count, then names: of lanes, as waiting_lanes.lua
--       tells them, 'due' (what waits for its time, unless that was still to come), 'suspects' (what waits apart, see
--       claim.lua), 'poll' (what runs: the jobs among them that may run again)
-- Reply per name: { how many ids were read (fewer than `count`: that was all), { ids of jobs that wait… }, { of those
--                 that suspect_lost.lua has looked for later… } }
local first, last, reply = tonumber(ARGV[2]), tonumber(ARGV[2]) + tonumber(ARGV[3]) - 1, {}
local recover = redis.call('HMGET', META, 'recover_from', 'recover_since')
local from, since = tonumber(recover[1] or 0), tonumber(recover[2] or 0)

-- 2 = a job that waits, 3 = one that is looked for later, nil = one that no lost claim can have been of.
local function place_of(name, id)
  local f = redis.call('HMGET', job_key(id), 'state', 'retry', 'batch')
  if f[1] == 'running' then return f[2] and name == 'poll' and 3 or nil end
  if f[1] ~= 'ready' and not (f[1] == 'scheduled' and was_due_then(id, from, since)) then return nil end
  return is_accepted(f[3] or NO_BATCH) and 2 or 3
end

for i = 4, #ARGV do
  local is_lane = string.sub(ARGV[i], 1, 5) == 'lane:'
  local ids = redis.call(is_lane and 'LRANGE' or 'ZRANGE', PREFIX .. ARGV[i], first, last)
  local found = { #ids, {}, {} }
  for _, id in ipairs(ids) do
    local place = place_of(ARGV[i], id)
    if place then table.insert(found[place], id) end
  end
  reply[#reply + 1] = found
end
return reply
