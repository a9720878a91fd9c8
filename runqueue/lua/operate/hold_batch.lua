-- use: lanes batches
-- Pauses or resumes a batch of any size: by a flag, for which claims take out its lanes, or by listing its lanes again.
-- A batch that was held by its own rule, or expired, loses the rule.
-- ARGV  now_us, batch, what ('pause' | 'resume'), seen (the hold when that was decided, '' = none: repeated later,
--       it must not end another hold)
-- Reply: the hold now: '' | 'paused' | 'canary' | 'aborted' | 'expired' | 'canceled'; nil = no such batch
local batch, what, seen = q.args[2], q.args[3], q.args[4]
local key = batches.key(q, batch)
local f = redis.call('HMGET', key, 'sealed', 'held', 'canary')
if not f[1] then return false end
local held = f[2] or ''
-- An expired upload has no jobs any more.
local may_go_on = held ~= '' and held ~= 'canceled' and not (held == 'expired' and f[1] == '0')
if what == 'pause' and (held == '' or held == 'canary') then
  redis.call('HSET', key, 'held', 'paused')
elseif what == 'resume' and held == seen and may_go_on then
  if (held == 'paused' or held == 'expired') and f[3] then
    redis.call('HSET', key, 'held', 'canary')
  else
    redis.call('HDEL', key, 'held', 'canary')
  end
  redis.call('HDEL', key, 'why')
  if held == 'aborted' then redis.call('HDEL', key, 'abort', 'abort_after') end
  if held == 'expired' then
    redis.call('HDEL', key, 'expires_after', 'expires_at')
    redis.call('ZREM', q.prefix .. 'expiring', batch)
    redis.call('HDEL', q.prefix .. 'canceling', batch)
  end
  batches.measure_anew(q, batch)
  lanes.list_lanes(q, batch)
  batches.judge(q, batch)
  if lanes.anything_ready(q) then lanes.wake(q) end
end
return redis.call('HGET', key, 'held') or ''
