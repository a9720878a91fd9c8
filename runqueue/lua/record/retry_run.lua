-- use: counters save record times webhooks jobs trust runs trail further keys
-- A run ended badly, and the job's policy retries it: running → scheduled (failed or canceled if the
-- job is to end, unconfirmed if its further run may have been made: suspect_lost.lua).
-- ARGV  now_us, then 9 a job: id, attempt, run_id, run_status, reason, backoff_us, result, times (see times.lua), occupied
--       (1: the run found its browser session occupied, and did nothing: it does not count, and the job waits as in
--       give_back.lua. Its sixth such run ends it)
-- Reply per job: 1 = scheduled, unconfirmed, or running, 2 = ended after all, 0 = over already, or another run is the
-- job's The run's own record stays with Skyvern; the result kept meanwhile is that of the last run. A retry sends
-- no webhook: the job's webhook is that of its last run.
local MOST_OCCUPIED = 6
local reply = {}
expect_deliveries()
for _, zset in ipairs({ 'due', 'unconfirmed', 'parked', 'reconcile', 'poll', 'listed', 'cancels', 'stray_looks' }) do
  expect(PREFIX .. zset, 'zset')
end
pass_when_full()

local function note_again(job, status, reason)
  note_step(job, 'runs_again', job.run_id .. ' ended ' .. status .. (reason ~= '' and ': ' .. reason or ''))
  bump(totals, 'retried', 1)
end

-- Without a further run it waits for its time, unless it is to end: a deadline that is still to come flags it then, as
-- any other job.
local function look_on(job, status, start)
  if job.deadline and tonumber(job.deadline) <= NOW then redis.call('HSETNX', job_key(job.id), 'cancel', 'deadline') end
  redis.call('HSET', job_key(job.id), 'run_status', status)
  if not job.cancel then redis.call('HSET', job_key(job.id), 'run_at', int(start)) end
end

local function end_here(job, status, reason, is_late)
  end_job(job, 'failed', { 'run_status', status, 'runs', int(job.runs + 1), 'reason',
    is_late and reason .. ' (no time is left to run it again)' or reason })
  begin_delivery(job, '')
end

local function wait_for_next(job, status, reason, start, runs)
  note_again(job, status, reason)
  keep_earlier(job)
  redis.call('HDEL', job_key(job.id), 'run_id', 'started')
  count_state(job, 'scheduled')
  redis.call('HSET', job_key(job.id), 'state', 'scheduled', 'run_at', int(start), 'run_status', status,
    'runs', int(runs), 'reason', reason)
  redis.call('ZADD', PREFIX .. 'due', int(start), job.id)
end

local function record(i)
  local id, run_id, status, reason, result = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4], ARGV[i + 6]
  local job = read_job(id)
  if not (job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == run_id) then
    reply[#reply + 1] = 0
    return
  end
  local is_occupied = ARGV[i + 8] == '1'
  local wait = is_occupied and put_off(job, MOST_OCCUPIED, true) or (not is_occupied and tonumber(ARGV[i + 5]))
  local start, code, started = wait and NOW + wait, 1, job.started
  if is_occupied then key_limits.pause_session(job) end
  if has_further(job, result) then
    if job.state == 'unconfirmed' then look_on(job, status, start or NOW) end
  elseif not start or job.cancel or (job.deadline and tonumber(job.deadline) <= start) then
    leave_running(job, result)
    end_here(job, status, reason, start and not job.cancel)
    code = 2
  else
    leave_running(job, not is_occupied and result or nil)
    wait_for_next(job, status, reason, start, job.runs + (is_occupied and 0 or 1))
  end
  job.started = started
  run_took(job)
  bump(totals, 'seen:retried', 1)
  observe_run(job, ARGV[i + 7])
  reply[#reply + 1] = code
end
for i = 2, #ARGV, 9 do try(record, i) end
save()
try(save_run_times)
raise_damage()
return reply
