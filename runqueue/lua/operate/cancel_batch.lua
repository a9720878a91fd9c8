-- use: batches
-- Cancels a batch of any size in one step: the flag holds its lanes; the sweep ends its jobs. A batch whose jobs have
-- all ended keeps its state.
-- ARGV  now_us, batch
-- Reply { how many jobs it holds, of them: waiting, which this cancels at once; live, whose runs will be
--         canceled } | { -1 } no such batch
local batch = q.args[2]
local key, read = batches.key(q, batch), batches.read(q, batch)
if not read.sealed then return { -1 } end
if read.sealed == '0' and read.held == 'expired' then return { 0, 0, 0 } end
if read.open == 0 and (read.sealed == '1' or read.held == 'canceled') then return { batches.size(q, batch), 0, 0 } end
if read.held ~= 'canceled' then redis.call('HSET', key, 'held', 'canceled', 'canceled_at', int(q.now)) end
redis.call('HSETNX', q.prefix .. 'canceling', batch, '0')
batches.judge(q, batch)
return { batches.size(q, batch), read.open - read.live, read.live }
