-- use: server
-- Records why the runs of possibly lost claims cannot be searched: an operator who is called, now or because it lasts,
-- reads that. Attempts continue.
-- ARGV  now_us, recover_from_us, recover_since_us (as reconcile_claim returned them), why, person (1 = call one now)
-- Reply 1 = an operator is called, 0 = not yet, or one is already, or that recovery is over
local f = redis.call('HMGET', q.meta, 'recover_from', 'recover_since', 'hold_kind')
if f[1] ~= q.args[2] or f[2] ~= q.args[3] or f[3] == 'person' then return 0 end
redis.call('HSET', q.meta, 'recover_why', q.args[4])
if q.args[5] ~= '1' then return 0 end
server.call_a_person(q, q.args[4])
return 1
