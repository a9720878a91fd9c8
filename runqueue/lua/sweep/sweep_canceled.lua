-- use: counters lanes job_record jobs losses ends_after_recovery
-- Walks the jobs of batches that were canceled, or expired long ago: scheduled | ready → canceled; live jobs are
-- flagged, and so are jobs whose claim was, or may be, lost (lib/jobs/ends_after_recovery.lua). During a recovery
-- waiting jobs stay in their lanes, since the recovery reads there which jobs may have lost a claim; they are walked
-- once it is over. ARGV  now_us, limit.   Reply: how many jobs, and batches without any, were walked (as many as the
-- limit = call again)
local CANCELING, limit, walked = q.prefix .. 'canceling', tonumber(q.args[2]), 0
local WALKED = -1 -- in place of how many were walked: all were, during a recovery
local flat = redis.call('HRANDFIELD', CANCELING, q.args[2], 'WITHVALUES')

local function end_one(batch, id, is_canceled)
  local job = job_record.read(q, id)
  if job and job.batch == batch and (job.state == 'ready' or job.state == 'scheduled') then
    if losses.is_recovering(q) then return end
    if ends_after_recovery.may_have_run(q, job, 'asked') then return end
    counters.remove_later(q, 'due', id)
    jobs.end_job(q, job, 'canceled', { 'reason', is_canceled and 'its batch was canceled' or 'its batch expired' })
  elseif job and job.batch == batch and LIVE[job.state] then
    redis.call('HSETNX', job_key(q, id), 'cancel', 'asked')
    if job.state == 'running' then redis.call('ZADD', q.prefix .. 'cancels', 'NX', int(q.now), id) end
  end
end

local function walk(batch, from)
  if from == WALKED then
    if losses.is_recovering(q) then return end
    from = 0
  end
  local most = limit - walked
  local is_canceled = lanes.batch_canceled(q, batch)
  local ids = redis.call('LRANGE', q.prefix .. 'batch_jobs:' .. batch, from, from + most - 1)
  for _, id in ipairs(ids) do
    end_one(batch, id, is_canceled)
  end
  walked = walked + math.max(1, #ids)
  if #ids >= most then
    redis.call('HSET', CANCELING, batch, int(from + #ids))
  elseif losses.is_recovering(q) then
    redis.call('HSET', CANCELING, batch, WALKED)
  else
    redis.call('HDEL', CANCELING, batch)
    -- In an expired batch a job may be submitted again meanwhile: it stays in its lane until the batch is resumed.
    if is_canceled then lanes.drop(q, batch) end
  end
end

for i = 1, #flat, 2 do
  if walked >= limit then break end
  walk(flat[i], tonumber(flat[i + 1]))
end
return walked
