-- use: lanes server
-- Resumes submissions: ends any hold and accepts the Redis server that answers. With `seen` it ends only the
-- hold that the operator was shown: another hold stays, and so does the check of a restarted Redis, which ends by
-- itself. Only a hold that waits for an operator needs this.
-- ARGV  now_us, seen ('' = any, else 'paused' | 'held'), SHA-1 of the reason that he was shown
-- Reply: { 1 = done, or nothing holds it | 0 = something else holds it, its reason ('' = nothing did) }
local f = redis.call('HMGET', q.meta, 'hold_reason', 'hold_until', 'hold_kind', 'hold_person', 'paused')
local reason, seen, asks = f[1] or '', q.args[2] or '', true
if seen ~= '' then
  local what = f[5] and 'paused' or tonumber(f[2] or 0) > q.now and 'held'
  if not what then return { 1, '' } end
  if f[5] then reason = 'paused' .. (f[5] ~= '' and ': ' .. f[5] or '') end
  local is_asked_elsewhere = what == 'held' and f[3] == 'redis'
  if what ~= seen or is_asked_elsewhere or redis.sha1hex(reason) ~= q.args[3] then return { 0, reason } end
  asks = f[4]
end
if seen == 'paused' then
  redis.call('HDEL', q.meta, 'paused', 'paused_at')
  if lanes.anything_ready(q) then lanes.wake(q) end
  return { 1, reason }
end
redis.call('HDEL', q.meta, 'hold_until', 'hold_step', 'hold_reason', 'hold_probe', 'hold_person', 'probing', 'troubles',
  'refusals', 'asked_until', 'asked_reason', 'probe')
if asks then
  server.accept(q)
  -- Past any sequence that a process may remember, or its next heartbeat would hold the account again.
  redis.call('HINCRBY', q.meta, 'sequence', 1000000000)
end
lanes.wake(q)
return { 1, reason }
