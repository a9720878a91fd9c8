-- use: counters save record times webhooks trust runs
-- A run is over: running → completed | failed | canceled. A result is recorded once.
-- ARGV  now_us, then 8 a job: id, attempt, run_id, state, run_status, reason, result (the answer as
--       it came; '' = none is known), times (the run's own times in it, see times.lua; '' = none)
-- Reply per job: 1 = recorded, 0 = over already, or another run is the job's
local reply, jobs, results = {}, {}, {}
expect_deliveries()

-- All are read before anything is written; a job given twice ends once. All results are written in one command.
local seen = {}
local function read(i)
  local id = ARGV[i]
  local job = not seen[id] and read_job(id)
  if job and job.state == 'running' and job.attempt == tonumber(ARGV[i + 1]) and job.run_id == ARGV[i + 2] then
    jobs[i], seen[id] = job, true
    if ARGV[i + 6] ~= '' then
      results[#results + 1] = PREFIX .. 'result:' .. id
      results[#results + 1] = ARGV[i + 6]
    end
  end
end
for i = 2, #ARGV, 8 do try(read, i) end
pass_when_full()
for first = 1, #results, 1000 do redis.call('MSET', unpack(results, first, math.min(first + 999, #results))) end

for i = 2, #ARGV, 8 do
  local job = jobs[i]
  if job then
    local missed = comes_to_us(job) and not job.cancel
    if missed then webhook_missed(job) end
    bump(totals, missed and 'seen:missed' or 'seen:poll', 1)
    observe_run(job, ARGV[i + 7])
    run_took(job)
    end_with_run(job, ARGV[i + 3], ARGV[i + 4], ARGV[i + 5], ARGV[i + 6] == '' and '' or nil, '')
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
try(save_trust)
raise_damage()
return reply
