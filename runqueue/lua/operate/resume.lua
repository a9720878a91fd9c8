-- use: lanes server
-- Resumes submissions: ends any hold and accepts the Redis server that answers. With `seen` it ends only the
-- hold that the operator was shown: another hold stays, and so does the check of a restarted Redis, which ends by
-- itself. Only a hold that waits for an operator needs this.
-- ARGV  now_us, seen ('' = any, else 'paused' | 'held'), SHA-1 of the reason that he was shown
-- Reply: { 1 = done, or nothing holds it | 0 = something else holds it, its reason ('' = nothing did) }
expect(PREFIX .. 'wake', 'list')
local f = redis.call('HMGET', META, 'hold_reason', 'hold_until', 'hold_kind', 'hold_person', 'paused')
local reason, seen, asks = f[1] or '', ARGV[2] or '', true
if seen ~= '' then
  local what = f[5] and 'paused' or tonumber(f[2] or 0) > NOW and 'held'
  if not what then return { 1, '' } end
  if f[5] then reason = 'paused' .. (f[5] ~= '' and ': ' .. f[5] or '') end
  local is_asked_elsewhere = what == 'held' and f[3] == 'redis'
  if what ~= seen or is_asked_elsewhere or redis.sha1hex(reason) ~= ARGV[3] then return { 0, reason } end
  asks = f[4]
end
if seen == 'paused' then
  redis.call('HDEL', META, 'paused', 'paused_at')
  if anything_ready() then wake() end
  return { 1, reason }
end
redis.call('HDEL', META, 'hold_until', 'hold_step', 'hold_reason', 'hold_probe', 'hold_person', 'probing', 'troubles',
  'refusals', 'asked_until', 'asked_reason', 'probe')
if asks then
  accept()
  -- Past any sequence that a process may remember, or its next heartbeat would hold the account again.
  redis.call('HINCRBY', META, 'sequence', 1000000000)
end
wake()
return { 1, reason }
