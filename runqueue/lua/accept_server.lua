-- use: server
-- The owner of this Redis started it, and knows whether it lost anything.
-- ARGV  now_us, is_latest (1 = it lost nothing).   Reply 1 = it is trusted, 0 = the runs are listed first, or no
-- account is known
-- What an earlier one had lost stays lost: a recovery that is under way goes on, and its hold with it.
local f = redis.call('HMGET', META, 'run_id', 'recover_from')
if not f[1] then return 0 end
if ARGV[2] ~= '1' then return is_trusted() and 1 or 0 end
if f[2] then
  remember_server()
else
  accept()
end
return 1
