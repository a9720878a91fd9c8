-- use: times trust runs trail losses
-- A run ended badly, and the job's policy has it run again: running → scheduled (failed or canceled where
-- that is not wanted any more, unconfirmed where its further run may have been made: suspect_lost.lua).
-- ARGV  now_us, then 8 a job: id, attempt, run_id, run_status, reason, backoff_us, result, times (see times.lua)
-- Reply per job: 1 = scheduled, or unconfirmed, 2 = ended after all, 0 = over already, or another run is the job's
-- The run's own record stays with Skyvern; the result kept meanwhile is that of the last run. Of a job that runs
-- again nobody is told: its webhook is that of its last run.
local reply = {}
expect_deliveries()
for _, zset in ipairs({ 'due', 'unconfirmed', 'parked', 'reconcile' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()
local function note_again(job, status, reason, start)
  note_step(job, 'runs_again', job.run_id .. ' ended ' .. status .. (reason ~= '' and ': ' .. reason or ''))
  redis.call('HSET', job_key(job.id), 'run_at', int(start))
  bump(totals, 'retried', 1)
end

-- Without a further run it waits for its time, unless it is not wanted any more: a deadline that is still to come flags it
-- then, as any other.
local function look_on(job, lost, status, reason, start)
  look_for_further(job, lost)
  if job.deadline and tonumber(job.deadline) <= NOW then redis.call('HSETNX', job_key(job.id), 'cancel', 'deadline') end
  redis.call('HSET', job_key(job.id), 'run_status', status)
  if not job.cancel then note_again(job, status, reason, start) end
  note_step(job, 'unconfirmed', LOST_CLAIM)
end

local function run_again(job, status, reason, start)
  note_again(job, status, reason, start)
  keep_earlier(job)
  redis.call('HDEL', job_key(job.id), 'run_id', 'started')
  count_state(job, 'scheduled')
  redis.call('HSET', job_key(job.id), 'state', 'scheduled', 'run_status', status, 'runs', int(job.runs + 1), 'reason', reason)
  redis.call('ZADD', PREFIX .. 'due', int(start), job.id)
end

local function record(i)
  local id, run_id, status, reason = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local job = read_job(id)
  if not (job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == run_id) then
    reply[#reply + 1] = 0
    return
  end
  local start, code = NOW + tonumber(ARGV[i + 5]), 1
  local lost = redis.call('HGET', job_key(id), 'lost_claim')
  if lost then
    look_on(job, lost, status, reason, start)
  elseif job.cancel or (job.deadline and tonumber(job.deadline) <= start) then
    end_job(job, 'failed', { 'run_status', status, 'runs', int(job.runs + 1), 'reason',
      job.cancel and reason or reason .. ' (no time is left to run it again)' })
    begin_delivery(job, '')
    code = 2
  else
    run_again(job, status, reason, start)
  end
  run_took(job)
  leave_running(job, ARGV[i + 6])
  bump(totals, 'seen:retried', 1)
  observe_run(ARGV[i + 7])
  reply[#reply + 1] = code
end
for i = 2, #ARGV, 8 do try(record, i) end
save()
try(save_run_times)
raise_damage()
return reply
