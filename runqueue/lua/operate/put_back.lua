-- use: job_record
-- Gives a job that the archive alone has its request, and its result, back.
-- ARGV  now_us, id, ended_us (as it was archived), body, result ('' = none, or it is in the body)
-- Reply: 1 = it has them, 0 = it is another attempt's, or has them already, -1 = no such job
local id, ended, body, result = q.args[2], q.args[3], q.args[4], q.args[5]
local f = redis.call('HMGET', job_key(q, id), 'state', 'ended', 'archived')
if not f[1] then return -1 end
if f[2] ~= ended or not f[3] then return 0 end
redis.call('SET', q.prefix .. 'body:' .. id, body)
if result ~= '' then redis.call('SET', q.prefix .. 'result:' .. id, result) end
redis.call('HDEL', job_key(q, id), 'archived')
return 1
