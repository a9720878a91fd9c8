-- use: job_record
-- Gives a job that the archive alone has what it had: its request, its result, and the other fields of its record.
-- ARGV  now_us, id, ended_us (as it was archived), body, result ('' = none, or it is in the body), then names and values of
--       the record's fields
-- Reply: 1 = it has them, 0 = it has them already, or ended again, -1 = no such job
local id, ended, body, result = q.args[2], q.args[3], q.args[4], q.args[5]
local f, given = redis.call('HMGET', job_key(q, id), 'state', 'ended', 'archived'), {}
if not f[1] then return -1 end
if f[2] ~= ended or not f[3] then return 0 end
for i = 6, #q.args, 2 do given[q.args[i]] = q.args[i + 1] end
given.signed = nil -- the body that Skyvern signed is gone
for _, name in ipairs(job_record.ARCHIVED) do
  if given[name] then redis.call('HSET', job_key(q, id), name, given[name]) end
end
redis.call('SET', q.prefix .. 'body:' .. id, body)
if result ~= '' then redis.call('SET', q.prefix .. 'result:' .. id, result) end
redis.call('HDEL', job_key(q, id), 'archived')
return 1
