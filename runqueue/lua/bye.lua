-- use: board
-- A process ends in good order: its lease and its lines on the boards go; claims it still holds are
-- taken over by the next sweep as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = ARGV[2]
leave_boards(process)
redis.call('DEL', PREFIX .. 'wake:' .. process, PREFIX .. 'alone:' .. process)
redis.call('HDEL', PREFIX .. 'clocks', process)
if redis.call('HGET', META, 'suspects_by') == process then redis.call('HDEL', META, 'suspects_by', 'suspects_until') end
local held = redis.call('ZCARD', PREFIX .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', PREFIX .. 'processes', process)
  -- Everybody is gone in good order: whatever Redis starts from later with this mark in it knows all.
  if redis.call('EXISTS', PREFIX .. 'processes') == 0 then redis.call('HSET', META, 'rested', '1') end
else
  -- A goodbye, not a death: see expire_leases.lua.
  redis.call('ZADD', PREFIX .. 'processes', '1', process)
end
return held
