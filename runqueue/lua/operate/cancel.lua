-- use: counters save record jobs runs trail unwanted
-- Cancels jobs: scheduled | ready → canceled at once; a job that may have a run is flagged, and the run is canceled as
-- soon as its id is known. A waiting job may have a run, too: after a lost claim its run is known or searched (→ running |
-- unconfirmed), and during a recovery of Redis the job is flagged until the recovery is over.
-- ARGV  now_us, then ids
-- Reply per id: 1 = canceled, 2 = flagged, 0 = over already, -1 = no such job
local reply = {}
for _, zset in ipairs({ 'cancels', 'poll', 'due', 'stray_looks', 'unwanted' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  local code, was_requested = 0, job and job.cancel
  if not job then
    code = -1
  elseif (job.state == 'ready' or job.state == 'scheduled') and may_have_run(job, 'asked') then
    if not was_requested then note_step(job, 'cancel_asked', 'asked') end
    code = 2
  elseif job.state == 'ready' or job.state == 'scheduled' then
    -- The id stays in its lane; a claim skips it.
    remove_later('due', job.id)
    cancel_waiting(job)
    code = 1
  elseif LIVE[job.state] then
    if redis.call('HSETNX', job_key(job.id), 'cancel', 'asked') == 1 then note_step(job, 'cancel_asked', 'asked') end
    if job.state == 'running' then redis.call('ZADD', PREFIX .. 'cancels', 'NX', int(NOW), job.id) end
    code = 2
  end
  reply[#reply + 1] = code
end
for i = 2, #ARGV do try(record, i) end
try(note_adopted)
save()
raise_damage()
return reply
