-- use: server
-- The owner of this Redis vouches for it: it was restarted and lost nothing.
-- ARGV  now_us.   Reply 1 = accepted, 0 = there was nothing to accept
-- What an earlier one had lost stays lost: a recovery that is under way goes on, and its hold with it.
local f = redis.call('HMGET', META, 'run_id', 'recover_from')
if not f[1] then return 0 end
if f[2] then
  remember_server()
else
  accept()
end
return 1
