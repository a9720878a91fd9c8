-- use: history
-- Runs that wait for a person at Skyvern, in its status `paused`. A job is in the index `paused`, by since when, while
-- it is running and its `run_status` says so.
-- Fields of a job: paused_url (where the person decides); approval (of this pause: 'asked', 'sending', 'failed: <why>');
-- paused_for = '<us> <us>' (how long its run was paused, and until when).
local pauses = {}

-- How long a run was paused since its time began to count, a pause that goes on included. One that ended before was of
-- an earlier run or attempt. Of a time that is not believed nothing counts.
function pauses.total(q, id, run_status, paused_for, since)
  local total, ended = string.match(paused_for or '', '^(%d+) (%d+)$')
  total = ended and tonumber(ended) > since and tonumber(total) or 0
  local began = run_status == 'paused' and redis.call('ZSCORE', q.prefix .. 'paused', id)
  if not began then return total end
  return total + math.max(0, (clock_is_stale(q) and q.believed or q.now) - tonumber(began))
end

function pauses.leave(q, id)
  local key = job_key(q, id)
  local f = redis.call('HMGET', key, 'started', 'begun', 'paused_for')
  local total = pauses.total(q, id, 'paused', f[3], math.max(tonumber(f[1] or 0), tonumber(f[2] or 0)))
  redis.call('ZREM', q.prefix .. 'paused', id)
  redis.call('HDEL', key, 'paused_url', 'approval')
  redis.call('HSET', key, 'paused_for', int(total) .. ' ' .. int(q.now))
end

-- Records the status of a live run; `before` = the one on record.
function pauses.set_status(q, id, before, run_status)
  if run_status == 'paused' then
    redis.call('ZADD', q.prefix .. 'paused', 'NX', int(q.now), id)
  elseif before == 'paused' then
    pauses.leave(q, id)
  end
  redis.call('HSET', job_key(q, id), 'run_status', run_status)
end

-- As far as is known, an approval did not reach the run: a person is to look again.
function pauses.approval_failed(q, job, why)
  redis.call('HSET', job_key(q, job.id), 'approval', 'failed: ' .. why)
  history.add(q, job, 'approval_failed', why)
end

return pauses
