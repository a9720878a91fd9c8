-- Records that a list was read, or could not be, and when the next is due. Without its lease a process records nothing.
-- ARGV  now_us, process, next_us (of the queue's clock), failed (1 | 0), reach_us (0 = the list reached all live runs;
--       else it shows none that was begun before)
-- Reply: how many failed in a row; -1 = another process reads the list now
local f = redis.call('HMGET', q.meta, 'lists_on', 'list_by')
if f[1] ~= '1' or f[2] ~= q.args[2] then return -1 end
redis.call('HSET', q.meta, 'list_at', int(tonumber(q.args[3])))
redis.call('HDEL', q.meta, 'list_by', 'list_until')
if q.args[4] == '1' then return redis.call('HINCRBY', q.meta, 'list_fails', 1) end
redis.call('HDEL', q.meta, 'list_fails', 'list_reach')
if tonumber(q.args[5]) > 0 then redis.call('HSET', q.meta, 'list_reach', int(tonumber(q.args[5]))) end
return 0
