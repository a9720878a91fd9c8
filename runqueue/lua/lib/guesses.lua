-- A guess: a run that a job was given because its request is equal, not by a marker. The answer to a submission, when
-- it comes late, says whose run it is: then the runs change hands, and no job is submitted again for the mistake.
-- Fields of a job: `guessed` = '<run id> <when its submission was claimed; 0 = not known> <since when it was unconfirmed>';
-- `spare` = a run of its own that came when it had ended with its guess; `owes` = the job whose run the guess was,
-- where the guess had ended before that was known.

local function note_guess(job, run_id, claimed, since)
  redis.call('HSET', job_key(job.id), 'guessed', table.concat({ run_id, claimed or 0, since or int(NOW) }, ' '))
end

-- True if the job has that run by a guess.
local function is_guess(id, run_id)
  local guess = redis.call('HGET', job_key(id), 'guessed')
  return guess and string.match(guess, '^%S+') == run_id
end

-- Takes its guess from a running job: it is looked for again, and keeps its slot.
local function take_guess(job)
  local _, claimed, since = string.match(redis.call('HGET', job_key(job.id), 'guessed'), '^(%S+) (%S+) (%S+)$')
  redis.call('HDEL', runs_key(job.run_id), job.run_id)
  -- At once, not with the script's end: the job may get its own run in the same script.
  for _, zset in ipairs({ 'poll', 'listed', 'cancels' }) do redis.call('ZREM', PREFIX .. zset, job.id) end
  count_state(job, 'unconfirmed')
  redis.call('HDEL', job_key(job.id), 'guessed', 'run_id', 'run_status', 'started', 'cancel_since')
  redis.call('HSET', job_key(job.id), 'state', 'unconfirmed', 'reason', 'its run is another job\'s')
  if claimed ~= '0' then redis.call('HSET', job_key(job.id), 'claimed', claimed) end
  redis.call('ZADD', PREFIX .. 'unconfirmed', since, job.id)
  redis.call('ZADD', PREFIX .. 'reconcile', int(NOW), job.id)
  note_step(job, 'unconfirmed', 'its run is another job\'s')
  job.run_id, job.started = false, false
end

-- True where two jobs ask for the same, so that either may have the other's run.
local function are_equal(id, other)
  local digest = redis.call('HGET', job_key(id), 'digest')
  return digest and digest == redis.call('HGET', job_key(other), 'digest')
end
