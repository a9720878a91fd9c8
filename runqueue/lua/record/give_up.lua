-- use: save record webhooks strays jobs runs further counters
-- A run that should have been canceled did not confirm its end in time: running → failed | canceled (unconfirmed if
-- its further run may have been made, or running, if that is known: lib/jobs/further.lua). A run that may be live is
-- shown as an orphan run, and takes a slot until it is seen to be over, or for the longest time that it may take.
-- ARGV  now_us, then 3 a job: id, run_id, over (1 = the server reports that it is over, but its record cannot be read)
-- Reply per job: 1 = given up, 0 = it had ended meanwhile
local reply, looks = {}, {}
for _, zset in ipairs({ 'stray_looks', 'unconfirmed', 'parked', 'reconcile', 'poll', 'listed', 'cancels' }) do
  expect(PREFIX .. zset, 'zset')
end
expect_deliveries()
pass_when_full()

local function end_unread(job)
  local is_asked = job.cancel == 'asked'
  local status = redis.call('HGET', job_key(job.id), 'run_status') or ''
  end_with_run(job, is_asked and 'canceled' or 'failed', status, job.cancel .. ' (the run is over, but cannot be read)',
    '', '')
  notes.ended(job)
end

local function leave_stray(job, run_id, attempt)
  if add_stray(run_id, job.id, int(attempt), 'cancel not confirmed') then
    looks[#looks + 1] = now_text()
    looks[#looks + 1] = run_id
  end
end

local function end_unconfirmed(job)
  leave_running(job, '')
  leave_stray(job, job.run_id, job.attempt)
  end_job(job, 'failed', { 'reason', job.cancel .. ' (the cancel was never confirmed)' })
end

local function record(i)
  local job, run_id, is_over = read_job(ARGV[i]), ARGV[i + 1], ARGV[i + 2] == '1'
  if not (job and job.state == 'running' and job.run_id == run_id and job.cancel) then
    reply[#reply + 1] = 0
    return
  end
  local attempt = job.attempt
  if has_further(job, '') then
    if not is_over then leave_stray(job, run_id, attempt) end
  elseif is_over then
    end_unread(job)
  else
    end_unconfirmed(job)
  end
  reply[#reply + 1] = 1
end
for i = 2, #ARGV, 3 do try(record, i) end
in_parts('ZADD', STRAY_LOOKS, looks)
save()
raise_damage()
return reply
