-- use: schedules
-- Removes a schedule with its history; the batches of its firings stay.
-- ARGV  now_us, name, version.   Reply 1 = removed, 0 = it has another version by now, or is gone
local name = q.args[2]
local f = redis.call('HMGET', schedules.key(q, name), 'version', 'lines')
if f[1] ~= q.args[3] then return 0 end
redis.call('ZREM', q.prefix .. 'schedules', name)
redis.call('UNLINK', schedules.key(q, name))
schedules.name_lines(q, f[2], '')
return 1
