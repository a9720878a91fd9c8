-- use: server
-- A person says that submissions may go on: ends any hold and accepts the Redis server that answers.
-- ARGV  now_us.   Reply: the reason of the hold that ended, '' if there was none
local reason = redis.call('HGET', META, 'hold_reason') or ''
redis.call('HDEL', META, 'hold_until', 'hold_step', 'hold_reason', 'hold_probe', 'hold_person', 'probing', 'troubles',
  'refusals', 'asked_until', 'asked_reason', 'probe')
accept(this_server())
-- Past anything that a process may remember, or its next heartbeat would hold the account again.
redis.call('HINCRBY', META, 'sequence', 1000000000)
wake()
return reason
