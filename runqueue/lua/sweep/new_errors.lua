-- use: archive
-- Records which groups of errors are new and grow, for statistics, unless another process has the lease.
-- ARGV  now_us, process, the groups ('<id>:<jobs of the last hour> …')
-- Reply: 1 = recorded, else 0
if not archive.has_lease(q, q.args[2]) then return 0 end
return redis.call('HSET', archive.key(q), 'new_errors', q.args[3]) and 1
