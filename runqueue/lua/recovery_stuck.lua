-- use: server
-- The runs of the claims that this server may have lost cannot be told: a person is called. Further attempts go on.
-- ARGV  now_us, recover_from_us, recover_since_us (as reconcile_claim said them), why
-- Reply 1 = a person is called, 0 = one is already, or that recovery is over
local f = redis.call('HMGET', META, 'recover_from', 'recover_since', 'hold_kind')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] or f[3] == 'person' then return 0 end
pass_when_full()
call_a_person(ARGV[4])
return 1
