-- flags: no-writes
-- Lists orphan runs. ARGV  now_us, cursor ('0' = from the start), count
-- Reply { cursor ('0' = that was all), per orphan run: run_id, '<job_id> <attempt> <since_us> <its request> <why>' }
local found = redis.call('HSCAN', q.prefix .. 'orphans', q.args[2], 'COUNT', q.args[3])
return { found[1], unpack(found[2]) }
