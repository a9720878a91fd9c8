-- use: counters job_record jobs losses ends_after_recovery
-- Ends jobs that waited too long: scheduled | ready past the deadline → dead. A running job is polled now: if its run
-- is live, it is canceled, and the job fails with `deadline` once its end is confirmed. A job without a run id yet is
-- flagged, and its run is canceled as soon as it is known; so is a job whose claim was, or may be, lost. What was to
-- end during a recovery, canceled jobs included, ends once that is over (lib/jobs/ends_after_recovery.lua).
-- ARGV  now_us, limit.   Reply: how many were overdue (as many as the limit = call again)
local DEADLINES = q.prefix .. 'deadlines'
if clock_is_stale(q) then return 0 end
local ids = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(q.now), 'LIMIT', 0, q.args[2])
local put_off, free = {}, tonumber(q.args[2]) - #ids
if free > 0 and not losses.is_recovering(q) then
  put_off = redis.call('ZRANGE', q.prefix .. 'ends_after_recovery', 0, free - 1)
end
local function pass(id, was_put_off)
  local job = job_record.read(q, id)
  if not job then return end
  local is_over = tonumber(job.deadline) and tonumber(job.deadline) <= q.now
  if was_put_off and not job.cancel and not is_over then return end -- it is wanted again
  if job.state == 'ready' or job.state == 'scheduled' then
    if ends_after_recovery.may_have_run(q, job, job.cancel or 'deadline') then return end
    counters.remove_later(q, 'due', id)
    if job.cancel == 'asked' then
      jobs.cancel_waiting(q, job)
    else
      jobs.end_without_run(q, job, 'deadline: it passed while the job was queued')
    end
  elseif LIVE[job.state] then
    if job.state == 'running' then
      redis.call('ZADD', q.prefix .. 'poll', 'XX', int(q.now), id)
    else
      redis.call('HSETNX', job_key(q, id), 'cancel', 'deadline')
    end
  end
end
for _, id in ipairs(ids) do
  counters.remove_later(q, 'deadlines', id)
  pass(id)
end
for _, id in ipairs(put_off) do
  counters.remove_later(q, 'ends_after_recovery', id)
  pass(id, true)
end
return #ids + #put_off
