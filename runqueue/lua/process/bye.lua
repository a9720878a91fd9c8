-- use: board
-- A process ends in good order: removes its lease and its active consumers; the next sweep takes over claims it still
-- holds as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = ARGV[2]
forget_process(process)
local held = redis.call('ZCARD', PREFIX .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', PREFIX .. 'processes', process)
else
  -- An orderly end, not a death: see expire_leases.lua.
  redis.call('ZADD', PREFIX .. 'processes', '1', process)
end
return held
