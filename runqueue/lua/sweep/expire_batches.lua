-- use: counters lanes batches job_record jobs
-- An upload that was never finished expires: its jobs are removed (they were not accepted), and its record shows that
-- for RETENTION. A discarded upload is removed without a trace, and so is a batch without jobs.
-- ARGV  now_us, upload_us (how long an upload may take; '' = only discarded ones expire), limit, that one
-- Reply: how many batches and jobs were read (as many as the limit, or more = call again)
local UNSEALED, upload, limit, looked = q.prefix .. 'unsealed', tonumber(q.args[2]), tonumber(q.args[3]), 0
local WORDS = 'its upload was not finished in time: enqueue its jobs again'
if upload and clock_is_stale(q) then return 0 end

-- An earlier server may have accepted the batch, and claimed the job: its run is searched; without one it is removed.
local function look_for_run(job, lost)
  redis.call('HDEL', job_key(q, job.id), 'batch')
  redis.call('HSET', job_key(q, job.id), 'upload_abandoned', '1')
  job.batch = NO_BATCH
  jobs.look_for_lost(q, job, lost)
end

-- The job was not accepted and is removed; one that ran, or was canceled, outlives its batch.
local function take_out(batch, id)
  local job = job_record.read(q, id)
  if not job or job.batch ~= batch then return end
  if job.state ~= 'ready' and job.state ~= 'scheduled' then
    redis.call('HDEL', job_key(q, id), 'batch')
    return
  end
  redis.call('ZREM', q.prefix .. 'due', id)
  local f = redis.call('HMGET', job_key(q, id), 'earlier', 'files', 'maybe_claimed_at')
  if f[3] then return look_for_run(job, f[3]) end
  counters.bump(q.totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then counters.bump(q.group_load, job.group, -1) end
  redis.call('ZREM', q.prefix .. 'deadlines', id)
  jobs.drop_files(q, id, f[2])
  counters.discharge(q, job)
  for run_id in string.gmatch(f[1] or '', '%S+') do jobs.keep_owner(q, run_id, id) end
  redis.call('DEL', job_key(q, id), q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id)
end

-- At least one job, at most as many as the limit leaves: a large upload goes in steps.
local function is_empty(batch)
  local list = q.prefix .. 'batch_jobs:' .. batch
  local ids = redis.call('LRANGE', list, 0, math.max(1, limit - looked) - 1)
  for _, id in ipairs(ids) do take_out(batch, id) end
  redis.call('LTRIM', list, #ids, -1)
  looked = looked + #ids
  return redis.call('EXISTS', list) == 0
end

-- The record that is shown for RETENTION.
local function keep_record(batch)
  lanes.drop(q, batch)
  redis.call('UNLINK', q.prefix .. 'batch_left:' .. batch)
  for _, field in ipairs(redis.call('HKEYS', batches.key(q, batch))) do
    if string.match(field, '^count:') or string.match(field, '^canary') or field == 'moved' or field == 'retired' then
      redis.call('HDEL', batches.key(q, batch), field)
    end
  end
  redis.call('HSET', batches.key(q, batch), 'emptied', '1')
  redis.call('ZADD', UNSEALED, int(q.now + RETENTION - upload), batch)
  batches.judge(q, batch)
end

-- Removes the batch once no callback is left. No call adds to it or seals it meanwhile.
local function remove(batch)
  if tonumber(redis.call('HGET', batches.key(q, batch), 'callbacks:pending') or 0) > 0 then
    redis.call('ZADD', UNSEALED, int(q.now), batch)
    return
  end
  redis.call('HDEL', batches.key(q, batch), 'sealed')
  if is_empty(batch) then
    batches.drop(q, batch)
    redis.call('ZREM', UNSEALED, batch)
  end
end

-- Its time is over: the outcome depends on how it ended.
local function expire(batch, is_abandoned)
  local f = redis.call('HMGET', batches.key(q, batch), 'sealed', 'held', 'emptied')
  if f[1] ~= '0' or f[3] then
    remove(batch)
  elseif is_abandoned then
    counters.bump(q.totals, 'batches_expired', 1)
    redis.call('HDEL', batches.key(q, batch), 'callbacks:pending') -- no callback is sent
    remove(batch)
  elseif f[2] == 'canceled' and batches.size(q, batch) > 0 then
    -- It is removed with its jobs, once the sweep has canceled them.
    if redis.call('HEXISTS', q.prefix .. 'canceling', batch) == 0 then redis.call('ZREM', UNSEALED, batch) end
  else
    if not f[2] or not batches.FINAL[f[2]] then
      counters.bump(q.totals, 'batches_expired', 1)
      redis.call('HSET', batches.key(q, batch), 'held', 'expired', 'why', WORDS)
    end
    if is_empty(batch) then keep_record(batch) end
  end
end

local old
if upload then
  old = redis.call('ZRANGEBYSCORE', UNSEALED, '-inf', int(q.now - upload), 'WITHSCORES', 'LIMIT', 0, limit)
else
  old = redis.call('ZSCORE', UNSEALED, q.args[4]) == '0' and { q.args[4], '0' } or {}
end
for i = 1, #old, 2 do
  looked = looked + 1
  expire(old[i], old[i + 1] == '0')
  if looked >= limit then break end
end
return looked
