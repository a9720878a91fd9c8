-- use: server
-- The owner of this Redis started it, and knows whether it lost anything.
-- ARGV  now_us, is_latest (1 = it lost nothing).   Reply 1 = it is trusted, 0 = the runs are listed first, or no
-- account is known
-- What an earlier one had lost stays lost: a recovery that was under way before this start goes on, and its hold with
-- it. One that began with this start, since workers were there before its owner could say a word, is over; unless one
-- of them remembers claims that are not here.
local f = redis.call('HMGET', META, 'run_id', 'recover_from', 'recover_run_id', 'remembered')
if not f[1] then return 0 end
if ARGV[2] ~= '1' then return is_trusted() and 1 or 0 end
if not f[2] then
  accept()
elseif f[3] == this_server() and not f[4] then
  end_recovery()
else
  remember_server()
end
return 1
