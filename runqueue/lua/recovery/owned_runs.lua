-- use: job_record
-- flags: no-writes
-- Reads which runs have an owner. ARGV  now_us, except_late_runs (1 | 0), then run ids (≤ 1,000)
-- Reply per run: the id of the job whose run it is or was, or that left it as an orphan; '' = none is known, or with
-- `except_late_runs` a run that came for a job which had ended with an equal job's run (lib/runs/request_matches.lua):
-- a search may give it to the equal job, unless a person cancels it.
local except_late_runs = q.args[2] == '1'
local reply = {}
for i = 3, #q.args do
  local run_id = q.args[i]
  local orphan = redis.call('HGET', q.prefix .. 'orphans', run_id)
  local left_by = orphan and string.match(orphan, '^%S+')
  if left_by and except_late_runs and redis.call('HGET', job_key(q, left_by), 'late_run') == run_id
    and not redis.call('ZSCORE', q.prefix .. 'cancels', 'orphan ' .. run_id) then
    left_by = nil
  end
  local owner = redis.call('HGET', job_record.runs_key(q, run_id), run_id)
  reply[#reply + 1] = owner and string.gsub(owner, '^~', '') or left_by or ''
end
return reply
