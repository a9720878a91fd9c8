-- use: server
-- All runs of the claims that this server lost were searched and adopted: submissions continue.
-- ARGV  now_us, recover_from_us, recover_since_us (as reconcile_claim returned them)
-- Reply 1 = the account continues, 0 = that recovery is over already, or another server answers by now
local f = redis.call('HMGET', META, 'sequence', 'remembered', 'recover_from', 'recover_since')
if f[3] ~= ARGV[2] or f[4] ~= ARGV[3] then return 0 end
pass_when_full()
if not is_known() then return 0 end
redis.call('HSET', META, 'sequence', int(math.max(tonumber(f[1] or 0), tonumber(f[2] or 0))))
end_recovery()
return 1
