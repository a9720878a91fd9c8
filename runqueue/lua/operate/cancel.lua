-- use: counters job_record jobs history ends_after_recovery
-- Cancels jobs: scheduled | ready → canceled at once; a job that may have a run is flagged, and the run is canceled as
-- soon as its id is known. A waiting job may have a run, too: after a lost claim its run is known or searched (→ running |
-- unconfirmed), and during a recovery of Redis the job is flagged until the recovery is over.
-- ARGV  now_us, then ids
-- Reply per id: 1 = canceled, 2 = flagged, 0 = over already, -1 = no such job
local reply = {}
local function record(i)
  local job = job_record.read(q, q.args[i])
  local code, was_requested = 0, job and job.cancel
  if not job then
    code = -1
  elseif (job.state == 'ready' or job.state == 'scheduled') and ends_after_recovery.may_have_run(q, job, 'asked') then
    if not was_requested then history.add(q, job, 'cancel_asked', 'asked') end
    code = 2
  elseif job.state == 'ready' or job.state == 'scheduled' then
    -- The id stays in its lane; a claim skips it.
    counters.remove_later(q, 'due', job.id)
    jobs.cancel_waiting(q, job)
    code = 1
  elseif LIVE[job.state] then
    if redis.call('HSETNX', job_key(q, job.id), 'cancel', 'asked') == 1 then
      history.add(q, job, 'cancel_asked', 'asked')
    end
    if job.state == 'running' then redis.call('ZADD', q.prefix .. 'cancels', 'NX', int(q.now), job.id) end
    code = 2
  end
  reply[#reply + 1] = code
end
for i = 2, #q.args do record(i) end
return reply
