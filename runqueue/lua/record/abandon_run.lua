-- use: job_record orphans jobs runs extra_run counters
-- A run that should have been canceled did not confirm its end in time: running → failed | canceled (unconfirmed if
-- its extra run may have been made, or running, if that is known: lib/runs/extra_run.lua). A run that may be live is
-- shown as an orphan run, and takes a slot until it is seen to be over, or for the longest time that it may take.
-- ARGV  now_us, then 3 a job: id, run_id, over (1 = the server reports that it is over, but its record cannot be read)
-- Reply per job: 1 = abandoned, 0 = it had ended meanwhile
local reply = {}

local function end_unread(job)
  local is_asked = job.cancel == 'asked'
  local status = redis.call('HGET', job_key(q, job.id), 'run_status') or ''
  local reason = job.cancel .. ' (the run is over, but cannot be read)'
  runs.end_with_run(q, job, is_asked and 'canceled' or 'failed', status, reason, '', '')
  counters.ended(q, job, '')
end

local function leave_orphan(job, run_id, attempt)
  if orphans.add(q, run_id, job.id, int(attempt), 'cancel not confirmed') then
    redis.call('ZADD', q.prefix .. 'orphan_polls', int(q.now), run_id)
  end
end

local function end_unconfirmed(job)
  leave_orphan(job, job.run_id, job.attempt) -- first: if that fails, the job goes on running
  runs.leave_running(q, job, '')
  jobs.end_job(q, job, 'failed', { 'reason', job.cancel .. ' (the cancel was never confirmed)' })
end

local function record(i)
  local job, run_id, is_over = job_record.read(q, q.args[i]), q.args[i + 1], q.args[i + 2] == '1'
  if not (job and job.state == 'running' and job.run_id == run_id and job.cancel) then
    reply[#reply + 1] = 0
    return
  end
  local attempt = job.attempt
  if extra_run.has_extra_run(q, job, '') then
    if not is_over then leave_orphan(job, run_id, attempt) end
  elseif is_over then
    end_unread(job)
  else
    end_unconfirmed(job)
  end
  reply[#reply + 1] = 1
end
for i = 2, #q.args, 3 do record(i) end
return reply
