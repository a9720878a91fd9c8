-- use: job_record
-- flags: no-writes
-- Reads which runs have an owner. ARGV  now_us, but_spares (1 | 0), then run ids (≤ 1,000)
-- Reply per run: the id of the job whose run it is or was, or that left it as an orphan; '' = none is known, or with
-- `but_spares` a run that came for a job which had ended with an equal job's run (lib/runs/guesses.lua): a search may
-- give it to the equal job, unless a person cancels it.
local but_spares = q.args[2] == '1'
local reply = {}
for i = 3, #q.args do
  local run_id = q.args[i]
  local stray = redis.call('HGET', q.prefix .. 'strays', run_id)
  local left_by = stray and string.match(stray, '^%S+')
  if left_by and but_spares and redis.call('HGET', job_key(q, left_by), 'spare') == run_id
    and not redis.call('ZSCORE', q.prefix .. 'cancels', 'stray ' .. run_id) then
    left_by = nil
  end
  local owner = redis.call('HGET', job_record.runs_key(q, run_id), run_id)
  reply[#reply + 1] = owner and string.gsub(owner, '^~', '') or left_by or ''
end
return reply
