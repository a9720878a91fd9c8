-- Records what was told (see notices_claim.lua for the keys), if the process still has the lease.
-- ARGV  now_us, role, process, how many pairs, per pair: field of `notices`, value ('' = it goes), then per batch of which
--       all is told: id, 'over' | 'aborted'
-- Reply 1 = recorded, 0 = another process took the lease
local notices, n = q.prefix .. 'notices', tonumber(q.args[4])
local lease = redis.call('HGET', notices, 'lease:' .. q.args[2])
if not lease or string.match(lease, ' (.*)$') ~= q.args[3] then return 0 end
for at = 5, 3 + 2 * n, 2 do
  if q.args[at + 1] == '' then
    redis.call('HDEL', notices, q.args[at])
  else
    redis.call('HSET', notices, q.args[at], q.args[at + 1])
  end
end
for at = 5 + 2 * n, #q.args, 2 do
  local key = q.prefix .. 'batch:' .. q.args[at]
  if redis.call('EXISTS', key) == 1 then redis.call('HSET', key, 'noticed', q.args[at + 1]) end
  if q.args[at + 1] == 'over' then redis.call('ZREM', q.prefix .. 'watched_batches', q.args[at]) end
end
return 1
