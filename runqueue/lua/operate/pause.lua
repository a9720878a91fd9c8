-- use: lanes
-- Pauses or resumes an account: while paused nothing is submitted, and live runs continue. A pause is not a hold: holds
-- are set and cleared automatically, and `resume` of one confirms that the Redis server may be trusted.
-- ARGV  now_us, what ('pause' | 'resume'), reason (in words, '' = none is given)
-- Reply: 1 = it changed, 0 = it was so before (a pause keeps the last reason given)
expect(PREFIX .. 'wake', 'list')
pass_when_full()
if ARGV[2] == 'resume' then
  local was_paused = redis.call('HDEL', META, 'paused', 'paused_at') > 0
  if was_paused and anything_ready() then wake() end
  return was_paused and 1 or 0
end
redis.call(ARGV[3] == '' and 'HSETNX' or 'HSET', META, 'paused', ARGV[3])
return redis.call('HSETNX', META, 'paused_at', int(NOW))
