-- use: server
-- The owner of this Redis started it, and reports whether it lost anything.
-- ARGV  now_us, is_latest (1 = it lost nothing).   Reply 1 = it is trusted, 0 = the runs are listed first, or no
-- account is known
-- A recovery that was under way before this start continues, with its hold: what an earlier server lost stays lost. A
-- recovery that began with this start, since workers came before the owner's report, is over, unless one of them
-- remembers claims that this server does not know.
local f = redis.call('HMGET', q.meta, 'run_id', 'recover_from', 'recover_run_id', 'remembered')
if not f[1] then return 0 end
if q.args[2] ~= '1' then return server.is_trusted(q) and 1 or 0 end
if not f[2] then
  server.accept(q)
elseif f[3] == server.this_server() and not f[4] then
  server.end_recovery(q)
else
  server.remember_server(q)
end
return 1
