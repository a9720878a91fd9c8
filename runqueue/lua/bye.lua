-- A process ends in good order: its lease and its lines on the boards go; claims it still holds are
-- taken over by the next sweep as unconfirmed.
-- ARGV  now_us, process.   Reply: how many claims it still held
local process = ARGV[2]
for _, kind in ipairs({ 'submit', 'poll', 'cancel' }) do
  redis.call('ZREM', PREFIX .. 'board:' .. kind, process)
end
redis.call('DEL', PREFIX .. 'wake:' .. process)
local held = redis.call('ZCARD', PREFIX .. 'claims:' .. process)
if held == 0 then
  redis.call('ZREM', PREFIX .. 'processes', process)
  -- Everybody is gone in good order: whatever Redis starts from later with this mark in it knows all.
  if redis.call('EXISTS', PREFIX .. 'processes') == 0 then redis.call('HSET', META, 'rested', '1') end
else
  redis.call('ZADD', PREFIX .. 'processes', int(NOW), process)
end
return held
