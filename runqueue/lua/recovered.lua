-- use: server
-- The runs of the claims that this server lost were looked for, all of them, and adopted: submissions go on.
-- ARGV  now_us, recover_from_us (as reconcile_claim said it)
-- Reply 1 = the account goes on, 0 = that recovery is over already
if redis.call('HGET', META, 'recover_from') ~= ARGV[2] then return 0 end
pass_when_full()
local f = redis.call('HMGET', META, 'sequence', 'remembered')
redis.call('HSET', META, 'sequence', int(math.max(tonumber(f[1] or 0), tonumber(f[2] or 0))))
redis.call('HDEL', META, 'hold_until', 'hold_step', 'hold_reason', 'hold_probe', 'hold_person', 'probing',
  'asked_until', 'asked_reason', 'probe')
accept(this_server())
wake()
return 1
