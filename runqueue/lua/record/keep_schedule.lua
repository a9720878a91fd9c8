-- use: schedules
-- Has a claimed schedule for longer.
-- ARGV  now_us, process, name, lease_us.   Reply 1; 0 = another process has it, or it is gone
local key, claimed = schedules.key(q, q.args[3]), q.args[2] .. ' '
if string.sub(redis.call('HGET', key, 'claimed') or '', 1, #claimed) ~= claimed then return 0 end
local until_us = int(schedules.now(q) + tonumber(q.args[4]))
redis.call('ZADD', q.prefix .. 'schedules', until_us, q.args[3])
redis.call('HSET', key, 'claimed', claimed .. until_us)
return 1
