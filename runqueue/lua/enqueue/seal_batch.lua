-- use: lanes batches
-- Accepts a batch: its lanes join the ring, its jobs count as accepted from here on, and its time begins.
-- ARGV  now_us, batch, expected ('' = any number of jobs)
-- Reply: how many jobs it holds, -1 = no such batch, -2 = its upload has expired, -3 = it holds another number than
--        was expected, and stays as it is
local batch = ARGV[2]
local key = batch_key(batch)
local f = redis.call('HMGET', key, 'sealed', 'held', 'expires_after')
if not f[1] then return -1 end
if f[1] == '0' and f[2] == 'expired' then return -2 end
if f[1] == '0' and ARGV[3] ~= '' and batch_size(batch) ~= tonumber(ARGV[3]) then return -3 end
if f[1] == '0' then
  expect(PREFIX .. 'expiring', 'zset')
  expect(PREFIX .. 'listing', 'hash')
  redis.call('HSET', key, 'sealed', '1', 'sealed_at', int(NOW))
  if f[3] then
    note_relative()
    local expires_at = int(NOW + tonumber(f[3]))
    redis.call('HSET', key, 'expires_at', expires_at)
    redis.call('ZADD', PREFIX .. 'expiring', expires_at, batch)
  end
  -- An empty batch has no job to retire with: it is removed like an unfinished upload.
  if batch_size(batch) > 0 then redis.call('ZREM', PREFIX .. 'unsealed', batch) end
  redis.call('UNLINK', PREFIX .. 'batch_left:' .. batch) -- from here on no job is taken over or comes back
  list_lanes(batch)
  judge(batch) -- all may have ended, or other uploads may have taken its canary over
  if anything_ready() then wake() end
end
return batch_size(batch)
