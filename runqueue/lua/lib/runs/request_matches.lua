-- use: counters job_record orphans history pauses long_queued
-- A match by request: a run that a job was given because its request is equal, not by a marker. A late answer to a
-- submission, or the run's webhook, identifies its real job: then the two jobs swap their runs, and no job is submitted
-- again for the mistake.
-- Fields of a job: `request_match` = '<run id> <when its submission was claimed; 0 = not known> <since when it was
-- unconfirmed> <attempt>'; `late_run` = the attempt's own run that came after the job had ended with its match by
-- request, or was submitted again; `run_owed_to` = the job whose run the matched run was, where that was known too
-- late.
local request_matches = {}

function request_matches.record_request_match(q, job, run_id, claimed, since)
  local matched = table.concat({ run_id, claimed or 0, since or int(q.now), int(job.attempt) }, ' ')
  redis.call('HSET', job_key(q, job.id), 'request_match', matched)
end

-- The run, when its submission was claimed, since when the job was unconfirmed, and the attempt; nothing = no match by
-- request.
local function read_request_match(q, id)
  return string.match(redis.call('HGET', job_key(q, id), 'request_match') or '', '^(%S+) (%S+) (%S+) (%S+)$')
end

-- True if the job has that run by its request.
local function is_request_match(q, id, run_id)
  return read_request_match(q, id) == run_id
end

-- Takes its match by request from a running job: its run is searched again, and it keeps its slot.
local function remove_request_match(q, job)
  local _, claimed, since = read_request_match(q, job.id)
  redis.call('HDEL', job_record.runs_key(q, job.run_id), job.run_id)
  -- At once, not at the script's end: the job may get its own run in the same script.
  for _, zset in ipairs({ 'poll', 'listed', 'cancels' }) do redis.call('ZREM', q.prefix .. zset, job.id) end
  if job.run_status == 'paused' then pauses.leave(q, job.id) end
  long_queued.leave(q, job.id, job.run_status, job.started)
  counters.count_state(q, job, 'unconfirmed')
  redis.call('HDEL', job_key(q, job.id), 'request_match', 'run_id', 'run_status', 'started', 'cancel_since')
  redis.call('HSET', job_key(q, job.id), 'state', 'unconfirmed', 'reason', 'its run is another job\'s')
  if claimed ~= '0' then redis.call('HSET', job_key(q, job.id), 'claimed', claimed) end
  redis.call('ZADD', q.prefix .. 'unconfirmed', since, job.id)
  redis.call('ZADD', q.prefix .. 'reconcile', int(q.now), job.id)
  history.add(q, job, 'unconfirmed', 'its run is another job\'s')
  job.run_id, job.started = false, false
end

-- True if two jobs have equal requests, so that either may have the other's run.
local function are_equal(q, id, other)
  local digest = redis.call('HGET', job_key(q, id), 'digest')
  return digest and digest == redis.call('HGET', job_key(q, other), 'digest')
end

-- True once a match by request stays with its job: the run has ended, or was canceled for the job.
local function is_spent(q, job, matched)
  return job.state ~= 'running' or job.run_id ~= matched
    or (job.cancel and redis.call('HEXISTS', job_key(q, job.id), 'cancel_since') == 1)
end

-- Handles a job's run, by its own answer or webhook, that another job has. Returns the run that the job may take:
-- this one, or the other job's own.
local function take_from(q, owner_id, job, run_id, by_marker)
  local owner = job_record.read(q, owner_id)
  local is_running = owner and owner.state == 'running' and owner.run_id == run_id
  if not is_request_match(q, owner_id, run_id) then
    if not (by_marker and is_running) then return nil end
    -- The answer that gave it to the owner was not the owner's: the owner's run is searched as after a lost answer.
    local f = redis.call('HMGET', job_key(q, owner_id), 'taken', 'started')
    request_matches.record_request_match(q, owner, run_id, f[1], f[2])
  end
  local may_serve = owner and are_equal(q, owner_id, job.id)
  if is_running and not (may_serve and is_spent(q, owner, run_id)) then
    remove_request_match(q, owner)
    return run_id
  end
  -- The owner's late run, if its own came meanwhile, serves the equal request.
  if not may_serve then return nil end
  local late_run = redis.call('HGET', job_key(q, owner_id), 'late_run')
  if late_run and redis.call('HGET', q.prefix .. 'orphans', late_run)
    and not redis.call('ZSCORE', q.prefix .. 'cancels', 'orphan ' .. late_run) then
    redis.call('HDEL', job_key(q, owner_id), 'late_run')
    orphans.forget(q, late_run, owner_id)
    return late_run
  end
  redis.call('HSET', job_key(q, owner_id), 'run_owed_to', job.id)
  return nil
end

-- Binds a run to a job by its own answer, its webhook or its marker, and removes a match by request that conflicts.
-- Returns nothing, or the job that is to be given a run now, that run, and the matched run that the job had (see
-- leave_late_run).
function request_matches.correct_request_match(q, job, attempt, run_id, owner_id, may_adopt, by_marker)
  if may_adopt then
    local its_run = owner_id and take_from(q, owner_id, job, run_id, by_marker)
    if its_run then return job, its_run end
    return nil
  end
  if not job then return nil end
  local matched, _, _, matched_attempt = read_request_match(q, job.id)
  if not matched or tonumber(matched_attempt) ~= attempt then return nil end
  if is_spent(q, job, matched) then
    if owner_id then return nil end
    local owed = redis.call('HGET', job_key(q, job.id), 'run_owed_to')
    local other = owed and are_equal(q, owed, job.id) and job_record.read(q, owed)
    if other and other.state == 'unconfirmed' then
      redis.call('HDEL', job_key(q, job.id), 'run_owed_to')
      return other, run_id
    end
    redis.call('HSET', job_key(q, job.id), 'late_run', run_id)
  else
    local owner = owner_id and is_request_match(q, owner_id, run_id) and job_record.read(q, owner_id)
    if owner_id and not (owner and owner.state == 'running' and owner.run_id == run_id) then return nil end
    if owner then remove_request_match(q, owner) end
    remove_request_match(q, job)
    return job, run_id, matched
  end
  return nil
end

-- A job's former match by request: an equal job may be given that run; until then it is shown as an orphan.
function request_matches.leave_late_run(q, job, attempt, run_id, poll_after)
  if redis.call('HEXISTS', job_record.runs_key(q, run_id), run_id) == 1 then return end
  if orphans.add(q, run_id, job.id, int(attempt), 'its job has another run, which is its own') then
    redis.call('HSET', job_key(q, job.id), 'late_run', run_id)
    redis.call('ZADD', q.prefix .. 'orphan_polls', int(q.now + poll_after), run_id)
  end
end

return request_matches
