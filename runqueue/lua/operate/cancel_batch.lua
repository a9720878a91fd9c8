-- use: batches
-- Cancels a batch of any size in one step: the flag holds its lanes; the sweep ends its jobs. A batch whose jobs have
-- all ended keeps its state.
-- ARGV  now_us, batch
-- Reply { how many jobs it holds, of them: waiting, which this cancels at once; live, whose runs will be
--         canceled } | { -1 } no such batch
local batch = ARGV[2]
local key, read = batch_key(batch), read_batch(batch)
if not read.sealed then return { -1 } end
if read.sealed == '0' and read.held == 'expired' then return { 0, 0, 0 } end
if read.open == 0 and (read.sealed == '1' or read.held == 'canceled') then return { batch_size(batch), 0, 0 } end
pass_when_full()
if read.held ~= 'canceled' then redis.call('HSET', key, 'held', 'canceled', 'canceled_at', int(NOW)) end
redis.call('HSETNX', PREFIX .. 'canceling', batch, '0')
judge(batch)
return { batch_size(batch), read.open - read.live, read.live }
