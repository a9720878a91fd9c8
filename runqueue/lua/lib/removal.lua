-- What goes with a job that is removed, and what stays of its runs.

-- A job that goes gives back the uploaded files that it holds (see files.lua).
local function drop_files(id, files)
  local names, own = file_names(files), {}
  if #names == 0 then return end
  for i, owner in ipairs(redis.call('HMGET', PREFIX .. 'files', unpack(names))) do
    if owner == id then own[#own + 1] = names[i] end
  end
  if #own > 0 then redis.call('HDEL', PREFIX .. 'files', unpack(own)) end
end

-- Whose a run was stays known for as long as the records of jobs that ended today (REMEMBERED of worker/search.py), so
-- that no search takes it for an equal job's. '~' says that it is nobody's now.
local function keep_owner(run_id, job_id)
  redis.call('HSET', runs_key(run_id), run_id, '~' .. job_id)
  ended[#ended + 1] = 'stray ' .. run_id
end

local function forget_owner(run_id) redis.call('HDEL', runs_key(run_id), run_id) end

-- Removes a job whose end is long over, or that nobody wants any more: record, body, result, entries; `leave` is what
-- becomes of its runs' owner.
local function remove_record(job, leave)
  local f = redis.call('HMGET', job_key(job.id), 'earlier', 'files')
  local earlier = f[1] or ''
  drop_files(job.id, f[2])
  drop_delivery(job)
  redis.call('DEL', job_key(job.id), PREFIX .. 'body:' .. job.id, PREFIX .. 'result:' .. job.id)
  bump(totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then bump(group_load, job.group, -1) end
  if job.run_id then leave(job.run_id, job.id) end
  for run_id in string.gmatch(earlier, '%S+') do leave(run_id, job.id) end
  if job.state == 'dead' then
    remove_later('dead', job.id)
  else
    redis.call('HDEL', STRAY_JOBS, job.id) -- a later life of its key takes none of its strays
  end
  local batch = job.batch
  if batch ~= NO_BATCH and redis.call('HINCRBY', PREFIX .. 'batch:' .. batch, 'retired', 1) >= batch_size(batch) then
    drop_batch(batch)
  end
end
