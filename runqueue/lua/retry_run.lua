-- use: times trust runs trail
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
local function record(i)
  local id, run_id, status, reason = ARGV[i], ARGV[i + 2], ARGV[i + 3], ARGV[i + 4]
  local job = read_job(id)
  if not (job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == run_id) then
    reply[#reply + 1] = 0
  else
    local start = NOW + tonumber(ARGV[i + 5])
    run_took(job)
    leave_running(job, ARGV[i + 6])
    bump(totals, 'seen:retried', 1)
    observe_run(ARGV[i + 7])
    if job.cancel or (job.deadline and tonumber(job.deadline) <= start) then
      end_job(job, 'failed', { 'run_status', status, 'runs', int(job.runs + 1), 'reason',
        job.cancel and reason or reason .. ' (no time is left to run it again)' })
      begin_delivery(job, '')
      reply[#reply + 1] = 2
    else
      note_step(job, 'runs_again', run_id .. ' ended ' .. status .. (reason ~= '' and ': ' .. reason or ''))
      keep_earlier(job)
      local lost = redis.call('HGET', job_key(id), 'lost_claim')
      redis.call('HDEL', job_key(id), 'run_id', 'started')
      count_state(job, 'scheduled')
      redis.call('HSET', job_key(id), 'state', 'scheduled', 'run_at', int(start), 'run_status', status,
        'runs', int(job.runs + 1), 'reason', reason)
      bump(totals, 'retried', 1)
      if lost then
        look_for_lost(job, lost)
        note_step(job, 'unconfirmed', LOST_CLAIM)
      else
        redis.call('ZADD', PREFIX .. 'due', int(start), id)
      end
      reply[#reply + 1] = 1
    end
  end
end
for i = 2, #ARGV, 8 do try(record, i) end
save()
try(save_run_times)
raise_damage()
return reply
