-- use: counters job_record
-- Orphan runs: runs of ours that no job owns.
-- A job may have left several runs without an owner: `orphan_jobs` lists them, the first one first. They use
-- the account's plan like others: until a poll sees its end, each takes a slot (`orphan_polls`).
-- It keeps what its job takes, too, as long as the slot: `orphan_takes` = '<group> <batch> <max_steps; ->', and its
-- keys.
local orphans = {}

-- Whether there are any at all, read once a script: usually there is none, and no job need be read.
function orphans.are_any(q)
  if q.has_orphans == nil then q.has_orphans = redis.call('HLEN', q.prefix .. 'orphans') > 0 end
  return q.has_orphans
end

-- The slot of an orphan run is free again, and what else its job took.
local function free_orphan(q, run_id)
  local takes = orphans.are_any(q) and redis.call('HGET', q.prefix .. 'orphan_takes', run_id)
  local group, batch, max_steps, keys = string.match(takes or '', '^(%S+) (%S+) (%S+) ?(.*)$')
  local job = group and { group = group, batch = batch, max_steps = tonumber(max_steps) or false, keys = keys }
  if job then
    counters.live(q, job, 'orphan ' .. run_id, false)
    redis.call('HDEL', q.prefix .. 'orphan_takes', run_id)
  end
  counters.remove_later(q, 'orphan_polls', run_id)
  q.freed = true
  return job
end

-- An orphan run was seen to be over; `figures` = what it took (run_figures.lua).
function orphans.is_over(q, run_id, figures)
  local job = free_orphan(q, run_id)
  if job then counters.ended(q, job, figures) end
end

function orphans.forget(q, run_id, job_id)
  local left = {}
  for other in string.gmatch(redis.call('HGET', q.prefix .. 'orphan_jobs', job_id) or '', '%S+') do
    if other ~= run_id then left[#left + 1] = other end
  end
  free_orphan(q, run_id)
  redis.call('HDEL', q.prefix .. 'orphans', run_id)
  counters.remove_later(q, 'cancels', 'orphan ' .. run_id)
  if #left > 0 then
    redis.call('HSET', q.prefix .. 'orphan_jobs', job_id, table.concat(left, ' '))
  else
    redis.call('HDEL', q.prefix .. 'orphan_jobs', job_id)
  end
end

-- A job's request as one word, by its digest; '-' if there is no record of it.
local function request_of(digest) return digest and string.sub(redis.sha1hex(digest), 1, 16) or '-' end
function orphans.request_of(q, job_id) return request_of(redis.call('HGET', job_key(q, job_id), 'digest')) end

-- `orphans` holds '<job> <attempt> <since_us> <its request> <why>'. True if the run is to be polled from now on: it is
-- new, or an earlier call failed before it was in `orphan_polls` (changes.lua).
function orphans.add(q, run_id, job_id, attempt, why)
  local f = job_record.read_fields(q, job_id, job_record.ORPHANED)
  local record = table.concat({ job_id, attempt, int(q.now), request_of(f and f[2]), why }, ' ')
  local before = redis.call('HGET', q.prefix .. 'orphan_jobs', job_id)
  if redis.call('HSETNX', q.prefix .. 'orphans', run_id, record) == 0 then
    return redis.call('HEXISTS', q.prefix .. 'orphan_takes', run_id) == 1
      and not redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id)
  end
  q.has_orphans = true
  redis.call('HSET', q.prefix .. 'orphan_jobs', job_id, before and before .. ' ' .. run_id or run_id)
  if f then
    local job = { group = f[3] or 'default', batch = f[4] or NO_BATCH, max_steps = tonumber(f[5] or nil) or false,
      keys = f[6] or '' }
    redis.call('HSET', q.prefix .. 'orphan_takes', run_id,
      table.concat({ job.group, job.batch, f[5] or '-', job.keys }, ' '))
    counters.live(q, job, 'orphan ' .. run_id, true)
  end
  counters.bump(q.totals, 'orphans', 1)
  q.ended_ids[#q.ended_ids + 1] = 'orphan ' .. run_id -- it is listed for as long as a job that ended now
  return true
end

-- Until when an orphan run that is not seen to end takes a slot: as long as a run may take, from its beginning if it
-- was its job's, or from when it was noticed.
function orphans.ends_at(q, run_id, job_id, since, max_run, max_workflow)
  local f = job_record.read_fields(q, job_id, job_record.TIMED) or {}
  local longest = string.sub(run_id, 1, 3) == 'wr_' and max_workflow or max_run
  if f[2] == run_id and f[3] then since = math.max(tonumber(f[3]), tonumber(f[4] or 0)) end
  return since + math.max(longest, tonumber(f[5] or 0))
end

function orphans.slots_taken(q)
  local live = tonumber(redis.call('HGET', q.prefix .. 'counters', 'live') or 0)
  return live + redis.call('ZCARD', q.prefix .. 'orphan_polls')
end

return orphans
