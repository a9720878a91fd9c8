-- use: server
-- All runs of the claims that this server lost were searched and adopted: submissions continue.
-- ARGV  now_us, recover_from_us, recover_since_us (as reconcile_claim returned them)
-- Reply 1 = the account continues, 0 = that recovery is over already, or another server answers by now
local f = redis.call('HMGET', q.meta, 'sequence', 'remembered', 'recover_from', 'recover_since')
if f[3] ~= q.args[2] or f[4] ~= q.args[3] then return 0 end
if not server.is_known(q) then return 0 end
redis.call('HSET', q.meta, 'sequence', int(math.max(tonumber(f[1] or 0), tonumber(f[2] or 0))))
server.end_recovery(q)
return 1
