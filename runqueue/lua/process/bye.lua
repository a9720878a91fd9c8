-- use: active_consumers
-- A process ends in good order: removes its lease and its active consumers; the next sweep takes over claims it still
-- holds as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = q.args[2]
active_consumers.forget_process(q, process)
local held = redis.call('ZCARD', q.prefix .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', q.prefix .. 'processes', process)
else
  -- An orderly end, not a death: see expire_leases.lua.
  redis.call('ZADD', q.prefix .. 'processes', '1', process)
end
return held
