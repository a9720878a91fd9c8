-- use: server
-- The owner of this Redis vouches for it: it was restarted and lost nothing.
-- ARGV  now_us.   Reply 1 = accepted, 0 = there was nothing to accept
if redis.call('HEXISTS', META, 'run_id') == 0 then return 0 end
accept(this_server())
return 1
