-- use: counters job_record run_figures jobs webhook_health runs history extra_run key_limits
-- A run ended badly, and the job's policy retries it: running → scheduled (failed or canceled if the
-- job is to end, unconfirmed if its extra run may have been made: mark_maybe_claimed.lua).
-- ARGV  now_us, then 9 a job: id, attempt, run_id, run_status, reason, backoff_us, result, figures (see run_figures.lua),
--       occupied
--       (1: the run found its browser session occupied, and did nothing: it does not count, and the job waits as in
--       give_back.lua. Its sixth such run ends it)
-- Reply per job: 1 = scheduled, unconfirmed, or running, 2 = ended after all, 0 = over already, or another run is the
-- job's. The run's own record stays with Skyvern; the result kept meanwhile is that of the last run. A retry sends
-- no webhook: the job's webhook is that of its last run.
local MOST_OCCUPIED = 6
local reply = {}

local function note_again(job, status, reason)
  history.add(q, job, 'runs_again', job.run_id .. ' ended ' .. status .. (reason ~= '' and ': ' .. reason or ''))
  counters.bump(q.totals, 'retried', 1)
end

-- Without an extra run it waits for its time, unless it is to end: a deadline that is still to come flags it then, as
-- any other job.
local function look_on(job, status, start)
  if job.deadline and tonumber(job.deadline) <= q.now then
    redis.call('HSETNX', job_key(q, job.id), 'cancel', 'deadline')
  end
  redis.call('HSET', job_key(q, job.id), 'run_status', status)
  if not job.cancel then redis.call('HSET', job_key(q, job.id), 'run_at', int(start)) end
end

local function end_here(job, status, reason, is_late)
  jobs.end_job(q, job, 'failed', run_figures.put(job, { 'run_status', status, 'runs', int(job.runs + 1), 'reason',
    is_late and reason .. ' (no time is left to run it again)' or reason }))
  runs.begin_delivery(q, job, '')
end

local function wait_for_next(job, status, reason, start, ended_runs)
  note_again(job, status, reason)
  job_record.keep_earlier(q, job, status, reason)
  redis.call('HDEL', job_key(q, job.id), 'run_id', 'started')
  counters.count_state(q, job, 'scheduled')
  redis.call('HSET', job_key(q, job.id), 'state', 'scheduled', 'run_at', int(start), 'run_status', status,
    'runs', int(ended_runs), unpack(run_figures.put(job, { 'reason', reason })))
  redis.call('ZADD', q.prefix .. 'due', int(start), job.id)
end

local function record(i)
  local id, run_id, status, reason, result = q.args[i], q.args[i + 2], q.args[i + 3], q.args[i + 4], q.args[i + 6]
  local job = job_record.read(q, id)
  if not (job and job.state == 'running' and job.attempt == tonumber(q.args[i + 1]) and job.run_id == run_id) then
    reply[#reply + 1] = 0
    return
  end
  local is_occupied = q.args[i + 8] == '1'
  local wait = is_occupied and jobs.put_off(q, job, MOST_OCCUPIED, true)
    or (not is_occupied and tonumber(q.args[i + 5]))
  local start, code, started = wait and q.now + wait, 1, job.started
  run_figures.observe(q, job, q.args[i + 7])
  if is_occupied then key_limits.pause_session(q, job) end
  if extra_run.has_extra_run(q, job, result) then
    if job.state == 'unconfirmed' then look_on(job, status, start or q.now) end
  elseif not start or job.cancel or (job.deadline and tonumber(job.deadline) <= start) then
    runs.leave_running(q, job, result)
    end_here(job, status, reason, start and not job.cancel)
    code = 2
  else
    runs.leave_running(q, job, not is_occupied and result or nil)
    wait_for_next(job, status, reason, start, job.runs + (is_occupied and 0 or 1))
  end
  job.started = started
  webhook_health.run_took(q, job)
  counters.bump(q.totals, 'seen:retried', 1)
  reply[#reply + 1] = code
end
for i = 2, #q.args, 9 do record(i) end
return reply
