-- use: lanes batches
-- flags: refused-when-full
-- Accepts a batch: its lanes join the ring, its jobs count as accepted from here on, and its time begins.
-- ARGV  now_us, batch, expected ('' = any number of jobs)
-- Reply: how many jobs it holds, -1 = no such batch, -2 = its upload has expired, -3 = it holds another number than
--        was expected, and stays as it is
local batch = q.args[2]
local key = batches.key(q, batch)
local f = redis.call('HMGET', key, 'sealed', 'held', 'expires_after')
if not f[1] then return -1 end
if f[1] == '0' and f[2] == 'expired' then return -2 end
if f[1] == '0' and q.args[3] ~= '' and batches.size(q, batch) ~= tonumber(q.args[3]) then return -3 end
if f[1] == '0' then
  redis.call('HSET', key, 'sealed', '1', 'sealed_at', int(q.now))
  if f[3] then
    note_relative(q)
    local expires_at = int(q.now + tonumber(f[3]))
    redis.call('HSET', key, 'expires_at', expires_at)
    redis.call('ZADD', q.prefix .. 'expiring', expires_at, batch)
  end
  -- An empty batch has no job to retire with: it is removed like an unfinished upload.
  if batches.size(q, batch) > 0 then redis.call('ZREM', q.prefix .. 'unsealed', batch) end
  redis.call('UNLINK', q.prefix .. 'batch_left:' .. batch) -- from here on no job is taken over or comes back
  lanes.list_lanes(q, batch)
  batches.judge(q, batch) -- all may have ended, or other uploads may have taken its canary over
  if lanes.anything_ready(q) then lanes.wake(q) end
end
return batches.size(q, batch)
