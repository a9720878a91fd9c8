-- use: jobs losses own_orphans runs
local ends_after_recovery = {}

-- During a recovery a waiting job that a lost claim may have had does not end yet: a run without a marker is
-- matched by request, and only with jobs that wait (mark_maybe_claimed.lua). It stays in its lane, where no claim takes it if
-- it was canceled, and ends afterwards (expire_deadlines.lua).
local function waits_for_recovery(q, job, why)
  if not losses.is_recovering(q) then return false end
  local f = redis.call('HMGET', q.meta, 'recover_from', 'recover_since')
  if not losses.place_of(q, job.id, job.state, nil, job.batch, tonumber(f[1]), tonumber(f[2] or q.now)) then
    return false
  end
  if why == 'asked' then redis.call('HSETNX', job_key(q, job.id), 'cancel', why) end
  redis.call('ZADD', q.prefix .. 'ends_after_recovery', int(q.now), job.id)
  return true
end

-- Called before a waiting job is ended (`why`: asked, deadline): it may have a run all the same, of a claim that Redis
-- lost. A known orphan run of it is adopted, and canceled like any other; a possible one is searched. False: it has
-- none.
function ends_after_recovery.may_have_run(q, job, why)
  local run_id, attempt = own_orphans.find(q, job.id, job.attempt)
  if not run_id then return jobs.look_before_end(q, job, why) or waits_for_recovery(q, job, why) end
  redis.call('ZADD', q.prefix .. 'poll', int(q.now), job.id)
  if why == 'asked' then
    redis.call('HSET', job_key(q, job.id), 'cancel', why)
    job.cancel = why -- past its deadline it is canceled by its poll, unless it is over
  end
  runs.adopt(q, job, attempt, run_id, 'created')
  return true
end

return ends_after_recovery
