-- use: batches
-- Makes abandoned callbacks of a batch due again, as if never tried, under their former ids.
-- ARGV  now_us, batch, url ('' = the former one), asked (unique for each request: a repeated call must not resend
--       what was abandoned since)
-- Reply how many are due (in a repeated call: were), or nil = no such batch
local batch, url, asked = q.args[2], q.args[3], q.args[4]
local key = batches.key(q, batch)
local f = redis.call('HMGET', key, 'sealed', 'callback_url', 'callbacks:asked')
if not f[1] then return false end
local before, done = string.match(f[3] or '', '^(%S+) (%d+)$')
if before == asked then return tonumber(done) end
local again = 0
for _, field in ipairs(redis.call('HKEYS', key)) do
  local event = string.match(field, '^abandoned:(%S+)$')
  if event then
    redis.call('HSET', key, 'callback:' .. event, '0 ' .. redis.call('HGET', key, field))
    redis.call('HDEL', key, field)
    redis.call('ZADD', q.prefix .. 'callbacks', int(q.now), batch .. ' ' .. event)
    again = again + 1
  end
end
redis.call('HSET', key, 'callbacks:asked', asked .. ' ' .. int(again))
if again > 0 then
  if url ~= '' then redis.call('HSET', key, 'callback_url', url) end
  redis.call('HINCRBY', key, 'callbacks:pending', again)
  if redis.call('HINCRBY', key, 'callbacks:abandoned', -again) <= 0 then
    redis.call('HDEL', key, 'callbacks:abandoned')
  end
end
return again
