-- use: job_record jobs own_orphans run_figures runs history pauses long_queued
-- A job's run is over or abandoned, and the job may have a further one: of a claim that Redis lost. An extra run that
-- is known as an orphan becomes the job's; a possible one is searched first (mark_maybe_claimed.lua). Either is
-- canceled if that was requested. `result` is that of the ended run. Returns false if there is no extra run. An
-- unreadable record is found before a write.
local extra_run = {}
function extra_run.has_extra_run(q, job, result)
  local run_id, attempt = own_orphans.find(q, job.id, job.attempt)
  local lost = not run_id and redis.call('HGET', job_key(q, job.id), 'maybe_claimed_at')
  if not (run_id or lost) then return false end
  if lost then jobs.look_for_lost(q, job, lost) end
  job_record.keep_earlier(q, job)
  -- At once, not at the script's end: the new run is in the same index.
  for _, zset in ipairs({ 'poll', 'listed', 'cancels' }) do redis.call('ZREM', q.prefix .. zset, job.id) end
  if job.run_status == 'paused' then pauses.leave(q, job.id) end
  long_queued.leave(q, job.id, job.run_status, job.started)
  redis.call('HDEL', job_key(q, job.id), 'run_id', 'run_status', 'started', 'cancel_since', 'maybe_claimed_at')
  redis.call('HSET', job_key(q, job.id), unpack(run_figures.put(job, { 'runs', int(job.runs + 1) })))
  redis.call('DEL', q.prefix .. 'result:' .. job.id)
  if result ~= '' then redis.call('SET', q.prefix .. 'result:' .. job.id, result) end
  if lost then
    history.add(q, job, 'unconfirmed', jobs.LOST_CLAIM)
  else
    redis.call('ZADD', q.prefix .. 'poll', int(q.now), job.id)
    history.add(q, job, 'found', run_id)
    runs.adopt(q, job, attempt, run_id, 'created')
  end
  return true
end

return extra_run
