-- use: history
-- Runs that wait for a person at Skyvern, in its status `paused`. A job is in the index `paused`, by since when, while
-- it is running and its `run_status` says so.
-- Fields of a job: app_url (where the person decides); approval ('asked <us>', 'sending <us>', or 'failed <why>': what
-- became of an approval of this pause); paused_for = '<us> <us>' (how long its run was paused, and until when).
local pauses = {}

function pauses.is_paused(job) return job.state == 'running' and job.run_status == 'paused' end

-- How long a run was paused since its time began to count. A pause that ended before was of an earlier run or attempt.
local function past(paused_for, since)
  local total, ended = string.match(paused_for or '', '^(%d+) (%d+)$')
  return ended and tonumber(ended) > since and tonumber(total) or 0
end

-- The same with the pause that goes on, if the run is paused now.
function pauses.total(q, id, run_status, paused_for, since)
  local began = run_status == 'paused' and redis.call('ZSCORE', q.prefix .. 'paused', id)
  return past(paused_for, since) + (began and math.max(0, q.now - tonumber(began)) or 0)
end

function pauses.begin(q, id) redis.call('ZADD', q.prefix .. 'paused', 'NX', int(q.now), id) end

-- The run is paused no more. While the clock is not believed only the time counts that was.
function pauses.leave(q, id)
  local key, began = job_key(q, id), redis.call('ZSCORE', q.prefix .. 'paused', id)
  if not began then return end
  local f = redis.call('HMGET', key, 'started', 'begun', 'paused_for')
  local since, now = math.max(tonumber(f[1] or 0), tonumber(f[2] or 0)), clock_is_stale(q) and q.believed or q.now
  local total = past(f[3], since) + math.max(0, now - tonumber(began))
  redis.call('ZREM', q.prefix .. 'paused', id)
  redis.call('HDEL', key, 'app_url', 'approval')
  redis.call('HSET', key, 'paused_for', int(total) .. ' ' .. int(now))
end

-- Records the status of a live run that is not as it was recorded (`before`).
function pauses.set_status(q, id, before, run_status)
  if run_status == 'paused' then
    pauses.begin(q, id)
  elseif before == 'paused' then
    pauses.leave(q, id)
  end
  redis.call('HSET', job_key(q, id), 'run_status', run_status)
end

-- An approval did not reach the run, as far as is known: a person is to look again.
function pauses.approval_failed(q, job, why)
  redis.call('ZREM', q.prefix .. 'cancels', 'approve ' .. job.id)
  redis.call('HSET', job_key(q, job.id), 'approval', 'failed ' .. why)
  history.add(q, job, 'approval_failed', why)
end

return pauses
