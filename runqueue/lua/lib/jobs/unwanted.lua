-- use: jobs losses own_strays runs
local UNWANTED = PREFIX .. 'unwanted'

-- During a recovery a waiting job that a lost claim may have had does not end yet: a run without a marker is told by
-- its request, and only from jobs that wait (suspect_lost.lua). It stays in its lane, where no claim takes it if it was
-- canceled, and ends afterwards (expire_deadlines.lua).
local function waits_for_recovery(job, why)
  if not is_recovering() then return false end
  local f = redis.call('HMGET', META, 'recover_from', 'recover_since')
  if not place_of(job.id, job.state, nil, job.batch, tonumber(f[1]), tonumber(f[2] or NOW)) then return false end
  if why == 'asked' then redis.call('HSETNX', job_key(job.id), 'cancel', why) end
  redis.call('ZADD', UNWANTED, int(NOW), job.id)
  return true
end

-- Called before a waiting job is ended (`why`: asked, deadline): it may have a run all the same, of a claim that Redis
-- lost. A known orphan run of it is adopted, and canceled like any other; a possible one is searched. False: it has
-- none.
local function may_have_run(job, why)
  local run_id, attempt = own_stray(job.id, job.attempt)
  if not run_id then return look_before_end(job, why) or waits_for_recovery(job, why) end
  redis.call('ZADD', PREFIX .. 'poll', int(NOW), job.id)
  if why == 'asked' then
    redis.call('HSET', job_key(job.id), 'cancel', why)
    job.cancel = why -- past its deadline it is canceled by its poll, unless it is over
  end
  adopt(job, attempt, run_id, 'created')
  return true
end
