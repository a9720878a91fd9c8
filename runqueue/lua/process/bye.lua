-- use: board
-- A process ends in good order: its lease and its lines on the boards go; claims it still holds are
-- taken over by the next sweep as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = ARGV[2]
forget_process(process)
local held = redis.call('ZCARD', PREFIX .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', PREFIX .. 'processes', process)
else
  -- A goodbye, not a death: see expire_leases.lua.
  redis.call('ZADD', PREFIX .. 'processes', '1', process)
end
return held
