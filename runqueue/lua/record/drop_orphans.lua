-- use: counters job_record orphans jobs
-- Removes orphan runs that are over, or that the server does not know.
-- ARGV  now_us, then run ids.   Reply: how many were dropped
local dropped = 0
local function drop(i)
  local record = redis.call('HGET', q.prefix .. 'orphans', q.args[i])
  if record then
    local job_id = string.match(record, '^%S+')
    orphans.forget(q, q.args[i], job_id)
    if redis.call('HEXISTS', job_record.runs_key(q, q.args[i]), q.args[i]) == 0 then
      jobs.keep_owner(q, q.args[i], job_id)
    end
    dropped = dropped + 1
  end
  counters.remove_later(q, 'cancels', 'orphan ' .. q.args[i])
end
for i = 2, #q.args do drop(i) end
return dropped
