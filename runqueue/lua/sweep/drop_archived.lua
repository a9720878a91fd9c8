-- use: archive job_record retention
-- Drops the bodies, results and signed webhooks of jobs that the archive has as final, and records how far dropping is.
-- ARGV  now_us, process, position in the archive ('' = as it is), then 3 a job: id, when it ended as the archive has it,
--       when it was to be read again ('' = it was not)
-- Reply { position ('' = none yet), oldest_us (what ended before has left Redis) }; {} = the process has no lease
-- A job is left that is to be read again, or waits for its webhook: it is dropped when its record is final.
local MOST_SHIFT = 1000 -- microseconds; of many jobs of one end, some have their place in the archive so much later

local function drop(q, id, at, due)
  local f = redis.call('HMGET', job_key(q, id), 'state', 'ended', 'archived', 'delivery')
  if not ENDED[f[1] or ''] or not f[2] or f[3] or f[4] == 'pending' then return end
  local later, again = tonumber(at) - tonumber(f[2]), redis.call('ZSCORE', q.prefix .. 'archive_again', id)
  if later < 0 or later > MOST_SHIFT or (again and int(tonumber(again)) ~= due) then return end
  job_record.leave_to_archive(q, id)
end

local key = archive.key(q)
if not archive.has_lease(q, q.args[2]) or clock_is_stale(q) then return {} end
for i = 4, #q.args, 3 do drop(q, q.args[i], q.args[i + 1], q.args[i + 2]) end
if q.args[3] ~= '' then redis.call('HSET', key, 'dropped', q.args[3]) end
local oldest = archive.oldest_day(q, retention.read(q).longest)
return { redis.call('HGET', key, 'dropped') or '', int(oldest * DAY) }
