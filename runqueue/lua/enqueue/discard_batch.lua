-- Discards an unfinished upload: its jobs were never accepted, expire_batches.lua removes them.
-- ARGV  now_us, batch.   Reply 1 = discarded, 0 = no such unsealed batch
local UNSEALED = q.prefix .. 'unsealed'
if not redis.call('ZSCORE', UNSEALED, q.args[2]) then return 0 end
redis.call('ZADD', UNSEALED, 0, q.args[2])
return 1
