-- Discards an unfinished upload: its jobs were never accepted, expire_batches.lua removes them.
-- ARGV  now_us, batch.   Reply 1 = discarded, 0 = no such unsealed batch
local UNSEALED = PREFIX .. 'unsealed'
expect(UNSEALED, 'zset')
pass_when_full() -- the upload may be what filled the server
if not redis.call('ZSCORE', UNSEALED, ARGV[2]) then return 0 end
redis.call('ZADD', UNSEALED, 0, ARGV[2])
return 1
