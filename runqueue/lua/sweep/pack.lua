-- Stores packed bodies and results of ended jobs, each if its job is unchanged since it was read: not submitted again,
-- not removed, not packed by another process.
-- ARGV  now_us, packing's position when they were read, its position after them, then 6 a job: id, ended_us, bytes of
--       its body and of its result as they were read, packed body, packed result ('' = it has none, or it is in the
--       body)
-- Reply: how many were stored
local PER_JOB = 6
if (redis.call('HGET', q.meta, 'packed') or '') == q.args[2] then redis.call('HSET', q.meta, 'packed', q.args[3]) end

local stored = 0
for i = 4, #q.args, PER_JOB do
  local id = q.args[i]
  local body_key, result_key = q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id
  -- A job that was submitted again has no end, or another one.
  if redis.call('HGET', job_key(q, id), 'ended') == q.args[i + 1]
    and redis.call('STRLEN', body_key) == tonumber(q.args[i + 2])
    and redis.call('STRLEN', result_key) == tonumber(q.args[i + 3]) then
    redis.call('SET', body_key, q.args[i + 4])
    if q.args[i + 5] ~= '' then
      redis.call('SET', result_key, q.args[i + 5])
    elseif q.args[i + 3] ~= '0' then
      redis.call('DEL', result_key)
    end
    stored = stored + 1
  end
end
return stored
