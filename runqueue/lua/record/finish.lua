-- use: counters job_record run_figures webhooks webhook_health runs
-- A run is over: running → completed | failed | canceled. A result is recorded once.
-- ARGV  now_us, then 8 a job: id, attempt, run_id, state, run_status, reason, result (the answer as
--       it came; '' = none is known), figures (what the run took, see run_figures.lua; '' = not known)
-- Reply per job: 1 = recorded, 0 = over already, or another run is the job's
local reply, jobs, results = {}, {}, {}

-- All are read before anything is written; a job given twice ends once. All results are written in one command.
local seen = {}
local function read(i)
  local id = q.args[i]
  local job = not seen[id] and job_record.read(q, id)
  if job and job.state == 'running' and job.attempt == tonumber(q.args[i + 1]) and job.run_id == q.args[i + 2] then
    jobs[i], seen[id] = job, true
    if q.args[i + 6] ~= '' then
      results[#results + 1] = q.prefix .. 'result:' .. id
      results[#results + 1] = q.args[i + 6]
    end
  end
end
for i = 2, #q.args, 8 do read(i) end
for first = 1, #results, 1000 do redis.call('MSET', unpack(results, first, math.min(first + 999, #results))) end

for i = 2, #q.args, 8 do
  local job = jobs[i]
  if job then
    local missed = webhooks.comes_to_us(job) and not job.cancel
    if missed then webhook_health.webhook_missed(q, job) end
    counters.bump(q.totals, missed and 'seen:missed' or 'seen:poll', 1)
    run_figures.observe(q, job, q.args[i + 7])
    webhook_health.run_took(q, job)
    runs.end_with_run(q, job, q.args[i + 3], q.args[i + 4], q.args[i + 5], q.args[i + 6] == '' and '' or nil, '')
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
return reply
