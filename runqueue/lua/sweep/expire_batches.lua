-- use: counters lanes batches save record jobs
-- An upload that was never finished expires: its jobs are removed (they were not accepted), and its record shows that
-- for a week. A discarded upload is removed without a trace, and so is a batch without jobs.
-- ARGV  now_us, upload_us (how long an upload may take; '' = only discarded ones expire), limit, that one
-- Reply: how many batches and jobs were read (as many as the limit, or more = call again)
local UNSEALED, upload, limit, looked = PREFIX .. 'unsealed', tonumber(ARGV[2]), tonumber(ARGV[3]), 0
local WORDS = 'its upload was not finished in time: hand its jobs in again'
local AGAIN = 30000000 -- when a damaged one is checked again
expect(UNSEALED, 'zset')
expect(PREFIX .. 'callbacks', 'zset')
expect(PREFIX .. 'dropping', 'set')
for _, zset in ipairs({ 'unconfirmed', 'parked', 'reconcile' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()
if upload and clock_is_stale() then return 0 end

-- An earlier server may have accepted the batch, and claimed the job: its run is searched; without one it is removed.
local function look_for_run(job, lost)
  redis.call('HDEL', job_key(job.id), 'batch')
  redis.call('HSET', job_key(job.id), 'given_up', '1')
  job.batch = NO_BATCH
  look_for_lost(job, lost)
end

-- The job was not accepted and is removed; one that ran, or was canceled, outlives its batch.
local function take_out(batch, id)
  local job = read_job(id)
  if not job or job.batch ~= batch then return end
  if job.state ~= 'ready' and job.state ~= 'scheduled' then
    redis.call('HDEL', job_key(id), 'batch')
    return
  end
  redis.call('ZREM', PREFIX .. 'due', id)
  local f = redis.call('HMGET', job_key(id), 'earlier', 'files', 'lost_claim')
  if f[3] then return look_for_run(job, f[3]) end
  bump(totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then bump(group_load, job.group, -1) end
  redis.call('ZREM', PREFIX .. 'deadlines', id)
  drop_files(id, f[2])
  discharge(job)
  for run_id in string.gmatch(f[1] or '', '%S+') do keep_owner(run_id, id) end
  redis.call('DEL', job_key(id), PREFIX .. 'body:' .. id, PREFIX .. 'result:' .. id)
end

-- At least one job, at most as many as the limit leaves: a large upload goes in steps.
local function is_empty(batch)
  local ids = redis.call('LPOP', PREFIX .. 'batch_jobs:' .. batch, math.max(1, limit - looked)) or {}
  for _, id in ipairs(ids) do
    if not try(take_out, batch, id) then set_aside('job ' .. id) end
  end
  looked = looked + #ids
  return redis.call('EXISTS', PREFIX .. 'batch_jobs:' .. batch) == 0
end

-- The record that is shown for a week.
local function keep_record(batch)
  drop_lanes(batch)
  redis.call('UNLINK', PREFIX .. 'batch_left:' .. batch)
  for _, field in ipairs(redis.call('HKEYS', batch_key(batch))) do
    if string.match(field, '^count:') or string.match(field, '^canary') or field == 'moved' or field == 'retired' then
      redis.call('HDEL', batch_key(batch), field)
    end
  end
  redis.call('HSET', batch_key(batch), 'emptied', '1')
  redis.call('ZADD', UNSEALED, int(NOW + KEPT - upload), batch)
  judge(batch)
end

-- Removes the batch once no callback is left. No call adds to it or seals it meanwhile.
local function remove(batch)
  if tonumber(redis.call('HGET', batch_key(batch), 'callbacks:pending') or 0) > 0 then
    redis.call('ZADD', UNSEALED, int(NOW), batch)
    return
  end
  redis.call('HDEL', batch_key(batch), 'sealed')
  if is_empty(batch) then
    drop_batch(batch)
    redis.call('ZREM', UNSEALED, batch)
  end
end

-- Its time is over: the outcome depends on how it ended.
local function expire(batch, is_given_up)
  local f = redis.call('HMGET', batch_key(batch), 'sealed', 'held', 'emptied')
  if f[1] ~= '0' or f[3] then
    remove(batch)
  elseif is_given_up then
    bump(totals, 'batches_expired', 1)
    redis.call('HDEL', batch_key(batch), 'callbacks:pending') -- no callback is sent
    remove(batch)
  elseif f[2] == 'canceled' and batch_size(batch) > 0 then
    -- It is removed with its jobs, once the sweep has canceled them.
    if redis.call('HEXISTS', PREFIX .. 'canceling', batch) == 0 then redis.call('ZREM', UNSEALED, batch) end
  else
    if not f[2] or not FINAL[f[2]] then
      bump(totals, 'batches_expired', 1)
      redis.call('HSET', batch_key(batch), 'held', 'expired', 'why', WORDS)
    end
    if is_empty(batch) then keep_record(batch) end
  end
end

local old
if upload then
  old = redis.call('ZRANGEBYSCORE', UNSEALED, '-inf', int(NOW - upload), 'WITHSCORES', 'LIMIT', 0, limit)
else
  old = redis.call('ZSCORE', UNSEALED, ARGV[4]) == '0' and { ARGV[4], '0' } or {}
end
for i = 1, #old, 2 do
  looked = looked + 1
  local is_given_up = old[i + 1] == '0'
  if not try(expire, old[i], is_given_up) and not is_given_up then
    redis.call('ZADD', UNSEALED, 'XX', int(NOW - upload + AGAIN), old[i])
  end
  if looked >= limit then break end
end
save()
raise_damage()
return looked
