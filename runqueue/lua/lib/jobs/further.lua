-- use: record jobs own_strays runs trail
-- A job's run is over or given up, and the job may have a further one: of a claim that Redis lost. A further run that
-- is known as an orphan becomes the job's; a possible one is searched first (suspect_lost.lua). Either is canceled if
-- that was requested. `result` is that of the ended run. Returns false if there is no further run. An unreadable record
-- is found before a write.
local function has_further(job, result)
  local run_id, attempt = own_stray(job.id, job.attempt)
  local lost = not run_id and redis.call('HGET', job_key(job.id), 'lost_claim')
  if not (run_id or lost) then return false end
  if lost then look_for_lost(job, lost) end
  keep_earlier(job)
  -- At once, not at the script's end: the new run is in the same index.
  for _, zset in ipairs({ 'poll', 'listed', 'cancels' }) do redis.call('ZREM', PREFIX .. zset, job.id) end
  redis.call('HDEL', job_key(job.id), 'run_id', 'run_status', 'started', 'cancel_since', 'lost_claim')
  redis.call('HSET', job_key(job.id), 'runs', int(job.runs + 1))
  redis.call('DEL', PREFIX .. 'result:' .. job.id)
  if result ~= '' then redis.call('SET', PREFIX .. 'result:' .. job.id, result) end
  if lost then
    note_step(job, 'unconfirmed', LOST_CLAIM)
  else
    redis.call('ZADD', PREFIX .. 'poll', int(NOW), job.id)
    note_step(job, 'found', run_id)
    adopt(job, attempt, run_id, 'created')
  end
  return true
end
