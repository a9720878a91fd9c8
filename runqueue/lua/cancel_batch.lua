-- Cancels a batch of any size in one step: the flag holds its lanes; the sweep ends its jobs.
-- ARGV  now_us, batch.   Reply: how many jobs it holds, -1 = no such batch
local key = PREFIX .. 'batch:' .. ARGV[2]
if redis.call('EXISTS', key) == 0 then return -1 end
pass_when_full()
redis.call('HSET', key, 'held', 'canceled', 'canceled_at', int(NOW))
redis.call('HSETNX', PREFIX .. 'canceling', ARGV[2], '0')
return batch_size(ARGV[2])
