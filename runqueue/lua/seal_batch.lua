-- Accepts a batch: its lanes join the ring, its jobs count as accepted from here on.
-- ARGV  now_us, batch.   Reply: how many jobs it holds, -1 = no such batch
local batch = ARGV[2]
local key = PREFIX .. 'batch:' .. batch
local sealed = redis.call('HGET', key, 'sealed')
if not sealed then return -1 end
if sealed == '0' then
  redis.call('HSET', key, 'sealed', '1', 'sealed_at', int(NOW))
  -- An empty batch has no job to retire with: it goes with the uploads that were never finished.
  if batch_size(batch) > 0 then redis.call('ZREM', PREFIX .. 'unsealed', batch) end
  list_lanes(batch)
  judge(batch) -- all may have ended, or other uploads may have taken its canary over
  if anything_ready() then wake() end
end
return batch_size(batch)
