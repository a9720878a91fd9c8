-- use: lanes
-- Pauses or resumes an account: while paused nothing is submitted, and live runs continue. A pause is not a hold: holds
-- are set and cleared automatically, and `resume` of one confirms that the Redis server may be trusted.
-- ARGV  now_us, what ('pause' | 'resume'), reason (in words, '' = none is given)
-- Reply: 1 = it changed, 0 = it was so before (a pause keeps the last reason given)
if q.args[2] == 'resume' then
  local was_paused = redis.call('HDEL', q.meta, 'paused', 'paused_at') > 0
  if was_paused and lanes.anything_ready(q) then lanes.wake(q) end
  return was_paused and 1 or 0
end
redis.call(q.args[3] == '' and 'HSETNX' or 'HSET', q.meta, 'paused', q.args[3])
return redis.call('HSETNX', q.meta, 'paused_at', int(q.now))
