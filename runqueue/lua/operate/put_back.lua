-- Gives a job that the archive alone has what it had: its request, its result, and the other fields of its record.
-- ARGV  now_us, id, ended_us (as it was archived), body, result ('' = none, or it is in the body), then names and values of
--       the record's fields
-- Reply: 1 = it has them, 0 = it has them already, or ended again, -1 = no such job
local id, ended, body, result = q.args[2], q.args[3], q.args[4], q.args[5]
local f = redis.call('HMGET', job_key(q, id), 'state', 'ended', 'archived')
if not f[1] then return -1 end
if f[2] ~= ended or not f[3] then return 0 end
for i = 6, #q.args, 2 do
  -- The body that Skyvern signed is gone; what Redis has may be newer.
  if q.args[i] ~= 'signed' then redis.call('HSETNX', job_key(q, id), q.args[i], q.args[i + 1]) end
end
redis.call('SET', q.prefix .. 'body:' .. id, body)
if result ~= '' then redis.call('SET', q.prefix .. 'result:' .. id, result) end
redis.call('HDEL', job_key(q, id), 'archived', 'custom_id', 'namespace') -- the envelope has them again
return 1
