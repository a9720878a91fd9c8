-- Renews a process's lease, or begins it under a new name.
-- ARGV  now_us, process, lease_us, first (1 = a new name)
-- Reply 1 = the lease holds until now + lease_us; 0 = refused: the name's lease was lost (its claims
--       are unconfirmed already), the process drops what it has not sent and takes a new name.
local PROCESSES = PREFIX .. 'processes'
expect(PROCESSES, 'zset')
pass_when_full()
local deadline = redis.call('ZSCORE', PROCESSES, ARGV[2])
if ARGV[4] ~= '1' and (not deadline or tonumber(deadline) <= NOW) then return 0 end
redis.call('ZADD', PROCESSES, int(NOW + tonumber(ARGV[3])), ARGV[2])
return 1
