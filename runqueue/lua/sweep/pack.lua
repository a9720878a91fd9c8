-- use: counters
-- Stores packed bodies and results of ended jobs, each if its job is unchanged since it was read: not submitted again,
-- not removed, not packed by another process.
-- ARGV  now_us, packing's position when they were read, its position after them, then 6 a job: id, ended_us, bytes of
--       its body and of its result as they were read, packed body, packed result ('' = it has none, or it is in the
--       body)
-- Reply: how many were stored
local PER_JOB = 6
pass_when_full()
if (redis.call('HGET', META, 'packed') or '') == ARGV[2] then redis.call('HSET', META, 'packed', ARGV[3]) end

local stored = 0
for i = 4, #ARGV, PER_JOB do
  local id = ARGV[i]
  local body_key, result_key = PREFIX .. 'body:' .. id, PREFIX .. 'result:' .. id
  -- A job that was submitted again has no end, or another one.
  local f = redis.call('HMGET', job_key(id), 'ended', 'charged')
  if f[1] == ARGV[i + 1]
    and redis.call('STRLEN', body_key) == tonumber(ARGV[i + 2])
    and redis.call('STRLEN', result_key) == tonumber(ARGV[i + 3]) then
    redis.call('SET', body_key, ARGV[i + 4])
    if f[2] then redis.call('HINCRBY', CHARGED, 'kept:' .. f[2], #ARGV[i + 4] - ARGV[i + 2]) end
    if ARGV[i + 5] ~= '' then
      redis.call('SET', result_key, ARGV[i + 5])
    elseif ARGV[i + 3] ~= '0' then
      redis.call('DEL', result_key)
    end
    stored = stored + 1
  end
end
return stored
