-- use: board server
-- A process ends in good order: its lease and its lines on the boards go; claims it still holds are
-- taken over by the next sweep as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = ARGV[2]
forget_process(process)
local held = redis.call('ZCARD', PREFIX .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', PREFIX .. 'processes', process)
  -- Everybody is gone in good order: whatever Redis starts from later with this mark in it knows all. Not if
  -- this one may itself have lost what they knew.
  local known = redis.call('HGET', META, 'run_id')
  if redis.call('EXISTS', PREFIX .. 'processes') == 0 and (not known or known == this_server()) then
    redis.call('HSET', META, 'rested', '1')
  end
else
  -- A goodbye, not a death: see expire_leases.lua.
  redis.call('ZADD', PREFIX .. 'processes', '1', process)
end
return held
