-- Cancels a batch of any size in one step: the flag holds its lanes; the sweep ends its jobs.
-- ARGV  now_us, batch
-- Reply { how many jobs it holds, of them: waiting, which this cancels at once; live, whose runs will be
--         canceled } | { -1 } no such batch
local key = PREFIX .. 'batch:' .. ARGV[2]
if redis.call('EXISTS', key) == 0 then return { -1 } end
pass_when_full()
local f = redis.call('HMGET', key, 'held', 'count:scheduled', 'count:ready', 'count:submitting',
  'count:unconfirmed', 'count:running')
local waiting, live = tonumber(f[2] or 0) + tonumber(f[3] or 0), 0
for i = 4, 6 do live = live + tonumber(f[i] or 0) end
redis.call('HSET', key, 'held', 'canceled', 'canceled_at', int(NOW))
redis.call('HSETNX', PREFIX .. 'canceling', ARGV[2], '0')
judge(ARGV[2])
return { batch_size(ARGV[2]), waiting, live }
