-- use: archive counters
-- Records what the archive has now, unless another process has the lease, or another position was recorded meanwhile:
-- then the same jobs are read, and written, again.
-- ARGV  now_us, process, archiving's position when they were read, its position after them, how many were written,
--       leaves (1 = the process gives its lease up), then 4 for each job to be read again, or that was: id, when it was to be
--       ('' = it is the lists'), when it is to be now ('' = never), why it could not be stored ('' = it was)
-- Reply: 1 = recorded, else 0
local PER_JOB = 4
local AGAIN, ASIDE = q.prefix .. 'archive_again', q.prefix .. 'archive_aside'
local function record(i)
  local id, due, again, why = q.args[i], q.args[i + 1], q.args[i + 2], q.args[i + 3]
  if why ~= '' then redis.call('HSET', ASIDE, id, why) else redis.call('HDEL', ASIDE, id) end
  local score = redis.call('ZSCORE', AGAIN, id)
  if score and int(tonumber(score)) ~= due then return end -- an operator wants it read at once
  if again == '' then redis.call('ZREM', AGAIN, id) else redis.call('ZADD', AGAIN, again, id) end
end

if not archive.has_lease(q, q.args[2]) then return 0 end
local key, is_recorded = archive.key(q), 0
if (redis.call('HGET', key, 'at') or '') == q.args[3] then
  is_recorded = 1
  if q.args[4] ~= '' then redis.call('HSET', key, 'at', q.args[4]) end
  counters.bump(q.totals, 'archive:written', tonumber(q.args[5]))
  for i = 7, #q.args, PER_JOB do record(i) end
end
if q.args[6] == '1' then redis.call('HDEL', key, 'lease') end
return is_recorded
