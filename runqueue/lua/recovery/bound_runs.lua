-- use: record
-- Reads which runs have an owner. ARGV  now_us, but_spares (1 | 0), then run ids (≤ 1,000)
-- Reply per run: the id of the job whose run it is or was, or that left it as an orphan; '' = none is known, or with
-- `but_spares` a run that came for a job which had ended with an equal job's run (lib/jobs/guesses.lua): a search may
-- give it to the equal job, unless a person cancels it.
local but_spares = ARGV[2] == '1'
local reply = {}
for i = 3, #ARGV do
  local run_id = ARGV[i]
  local stray = redis.call('HGET', PREFIX .. 'strays', run_id)
  local left_by = stray and string.match(stray, '^%S+')
  if left_by and but_spares and redis.call('HGET', job_key(left_by), 'spare') == run_id
    and not redis.call('ZSCORE', PREFIX .. 'cancels', 'stray ' .. run_id) then
    left_by = nil
  end
  local owner = redis.call('HGET', runs_key(run_id), run_id)
  reply[#reply + 1] = owner and string.gsub(owner, '^~', '') or left_by or ''
end
return reply
