-- use: counters job_record budgets run_figures archive
-- Records what the list of workflow runs shows of runs that ended without it: each once.
-- ARGV  now_us, then 5 a run: id, known (0 = it is abandoned), credits, cached credits, category ('' = not known)
-- Reply: how many were recorded
local PER_RUN = 5
local recorded = 0

-- The category is that of the job's last run that ended: a later one may have its own.
local function is_of_last(job, its_run)
  return job.run_id == its_run or (not job.run_id and string.match(job.earlier or '', '(%S+)$') == its_run)
end

local function record(i)
  local run_id, key = q.args[i], q.prefix .. 'run_details_of'
  local head = redis.call('HGET', key, run_id) or ''
  if redis.call('ZREM', q.prefix .. 'run_details', run_id) == 0 then return end
  redis.call('HDEL', key, run_id)
  if q.args[i + 1] == '0' then return counters.bump(q.totals, 'details:abandoned', 1) end
  local job_id, its_run = string.match(head, '^(%S+) (%S+) ')
  local job = job_id and job_record.read(q, job_id)
  local credits, category = tonumber(q.args[i + 2]), q.args[i + 4]
  if credits then budgets.correct(q, head, credits) end
  recorded = recorded + 1
  counters.bump(q.totals, 'details:read', 1)
  if not job then return end
  if credits then run_figures.add(q, job, { credits = credits, cached_credits = tonumber(q.args[i + 3]) }) end
  if category ~= '' and is_of_last(job, its_run) then job.new_category = category end
  local fields = run_figures.put(job, {})
  if #fields > 0 then
    redis.call('HSET', job_key(q, job.id), unpack(fields))
    archive.read_again(q, job.id)
  end
end
for i = 2, #q.args, PER_RUN do record(i) end
return recorded
