-- use: counters
-- Orphan runs: runs of ours that no job owns.
local STRAY_JOBS, STRAY_LOOKS = PREFIX .. 'stray_jobs', PREFIX .. 'stray_looks'

-- Whether there are any at all, read once a script: usually there is none, and no job need be read.
local are_strays
local function has_strays()
  if are_strays == nil then are_strays = redis.call('HLEN', PREFIX .. 'strays') > 0 end
  return are_strays
end

-- A job may have left several runs without an owner: `stray_jobs` lists them, the first one first. They use
-- the account's plan like others: until a poll sees its end, each takes a slot (`stray_looks`).
-- It keeps what its job takes, too, as long as the slot: `stray_takes` = '<group> <batch> <max_steps; ->', and its keys.
local STRAY_TAKES = PREFIX .. 'stray_takes'
local function free_stray(run_id)
  local takes = has_strays() and redis.call('HGET', STRAY_TAKES, run_id)
  local group, batch, max_steps, keys = string.match(takes or '', '^(%S+) (%S+) (%S+) ?(.*)$')
  local job = group and { group = group, batch = batch, max_steps = tonumber(max_steps) or false, keys = keys }
  if job then
    notes.live(job, 'stray ' .. run_id, false)
    redis.call('HDEL', STRAY_TAKES, run_id)
  end
  remove_later('stray_looks', run_id)
  freed = true
  return job
end

-- An orphan run was seen to be over; `steps` = nil if they are not known.
local function stray_is_over(run_id, steps)
  local job = free_stray(run_id)
  if job then notes.ended(job, steps) end
end

local function forget_stray(run_id, job_id)
  local left = {}
  for other in string.gmatch(redis.call('HGET', STRAY_JOBS, job_id) or '', '%S+') do
    if other ~= run_id then left[#left + 1] = other end
  end
  free_stray(run_id)
  redis.call('HDEL', PREFIX .. 'strays', run_id)
  remove_later('cancels', 'stray ' .. run_id)
  if #left > 0 then
    redis.call('HSET', STRAY_JOBS, job_id, table.concat(left, ' '))
  else
    redis.call('HDEL', STRAY_JOBS, job_id)
  end
end

-- The job's request as one word; '-' if there is no record of it.
local function request_of(job_id)
  local digest = redis.call('HGET', job_key(job_id), 'digest')
  return digest and string.sub(redis.sha1hex(digest), 1, 16) or '-'
end

-- `strays` holds '<job> <attempt> <since_us> <its request> <why>'.
local function add_stray(run_id, job_id, attempt, why)
  local told = table.concat({ job_id, attempt, int(NOW), request_of(job_id), why }, ' ')
  local before = redis.call('HGET', STRAY_JOBS, job_id)
  if redis.call('HSETNX', PREFIX .. 'strays', run_id, told) == 0 then return false end
  are_strays = true
  redis.call('HSET', STRAY_JOBS, job_id, before and before .. ' ' .. run_id or run_id)
  local f = redis.call('HMGET', job_key(job_id), 'group', 'batch', 'max_steps', 'keys', 'state')
  if f[5] then
    local job = { group = f[1] or 'default', batch = f[2] or NO_BATCH, max_steps = tonumber(f[3] or nil) or false, keys = f[4] or '' }
    redis.call('HSET', STRAY_TAKES, run_id, table.concat({ job.group, job.batch, f[3] or '-', job.keys }, ' '))
    notes.live(job, 'stray ' .. run_id, true)
  end
  bump(totals, 'strays', 1)
  ended[#ended + 1] = 'stray ' .. run_id -- it is listed for as long as a job that ended now
  return true
end

-- Until when an orphan run that is not seen to end takes a slot: as long as a run may take, from its beginning if it
-- was its job's, or from when it was noticed.
local function stray_until(run_id, job_id, since, max_run, max_workflow)
  local f = redis.call('HMGET', job_key(job_id), 'run_id', 'started', 'begun', 'max_run')
  local longest = string.sub(run_id, 1, 3) == 'wr_' and max_workflow or max_run
  if f[1] == run_id and f[2] then since = math.max(tonumber(f[2]), tonumber(f[3] or 0)) end
  return since + math.max(longest, tonumber(f[4] or 0))
end

local function slots_taken()
  return tonumber(redis.call('HGET', COUNTERS, 'live') or 0) + redis.call('ZCARD', STRAY_LOOKS)
end
