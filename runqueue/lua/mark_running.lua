-- use: times trust runs lists trail guesses
-- A run_id is known: submitting | unconfirmed → running; it is never refused (it costs money).
-- ARGV  now_us, how they were told (0 = by the answer to the submission, 1 = by their requests only: a guess,
--       2 = by the attempt's own marker, which the run shows), then 5 a job: id, attempt, run_id, run_status,
--       poll_after_us (longer for one whose end a webhook, or a list of live runs, will tell)
-- Reply per job: 1 = adopted, 0 = known already, 2 = stray (the job has moved on, or is gone),
--       3 = the run is another job's (a search for an equal request found it first, and it has ended): the job, if it
--       waits for this answer, is unconfirmed now, for the other's run may be its own,
--       4 = the job has moved on, or the run is taken, and it was only a guess: nothing came of it,
--       5 = adopted, by swapping it for a guess (lib/guesses.lua), or for what an answer had given another job
--       although the run shows this one's marker
local reply, polls, looks = {}, {}, {}
local is_a_guess, by_marker = ARGV[2] == '1', ARGV[2] == '2'
expect(PREFIX .. 'poll', 'zset')
expect(LISTED, 'zset')
for _, zset in ipairs({ 'stray_looks', 'unconfirmed', 'reconcile', 'cancels' }) do expect(PREFIX .. zset, 'zset') end
expect(PREFIX .. 'strays', 'hash')
pass_when_full()

local function look_after(job, poll_after)
  local left_alone = comes_to_us(job) and patience() or 0
  local after = math.min(math.max(tonumber(poll_after), left_alone), job.max_run or math.huge)
  local is_listed = left_alone == 0 and may_join(NOW, NOW, job.max_run)
  polls[#polls + 1] = int(is_listed and join(job.id, NOW, job.max_run) or NOW + after)
  polls[#polls + 1] = job.id
end

local function take_on(job, attempt, run_id, run_status, poll_after, is_bound)
  local claimed, since
  if is_a_guess then
    claimed = redis.call('HGET', job_key(job.id), 'claimed')
    since = redis.call('ZSCORE', PREFIX .. 'unconfirmed', job.id) or redis.call('ZSCORE', PREFIX .. 'parked', job.id)
  end
  look_after(job, poll_after)
  if job.state == 'unconfirmed' then
    note_step(job, 'found', run_id .. (is_a_guess and ', told by its request' or ''))
  end
  adopt(job, attempt, run_id, run_status, is_bound)
  if is_a_guess then note_guess(job, run_id, claimed, since) end
end

-- The run of a job whose own answer this is, and that another job has: it changes hands, or the other's run does.
-- Returns true if the job has a run now.
local function swap_with(owner_id, job, attempt, run_id, run_status, poll_after)
  local owner = read_job(owner_id)
  local is_running = owner and owner.state == 'running' and owner.run_id == run_id
  if not is_guess(owner_id, run_id) then
    if not (by_marker and is_running) then return false end
    -- The answer that gave it to the owner was not the owner's: it is looked for as if that had been lost.
    local f = redis.call('HMGET', job_key(owner_id), 'taken', 'started')
    note_guess(owner, run_id, f[1], f[2])
  end
  if is_running then
    take_guess(owner)
    take_on(job, attempt, run_id, run_status, poll_after, false)
    return true
  end
  -- It ended with that run. What it left, if its own came meanwhile, serves the equal request.
  if not owner or not are_equal(owner_id, job.id) then return false end
  local spare = redis.call('HGET', job_key(owner_id), 'spare')
  if spare and redis.call('HGET', PREFIX .. 'strays', spare) then
    redis.call('HDEL', job_key(owner_id), 'spare')
    forget_stray(spare, owner_id)
    take_on(job, attempt, spare, 'running', 0, false)
    return true
  end
  redis.call('HSET', job_key(owner_id), 'owes', job.id)
  return false
end

-- A run that a job had by a guess, and that is not its own: an equal job may be given it, and until then it is shown.
local function leave_spare(job, attempt, run_id, poll_after)
  if redis.call('HEXISTS', runs_key(run_id), run_id) == 1 then return end
  if add_stray(run_id, job.id, int(attempt), 'its job has another run, which is its own') then
    redis.call('HSET', job_key(job.id), 'spare', run_id)
    looks[#looks + 1] = int(NOW + tonumber(poll_after))
    looks[#looks + 1] = run_id
  end
end

-- The late answer to the submission of a job that has a guess: the run is its own. Returns the reply's code; nil = the
-- run is no such answer.
local function correct_guess(job, attempt, run_id, run_status, poll_after)
  if is_a_guess or not job or job.attempt ~= attempt or not job.run_id or not is_guess(job.id, job.run_id) then
    return nil
  end
  local owner_id = redis.call('HGET', runs_key(run_id), run_id)
  if job.state == 'running' then
    local owner = owner_id and owner_id ~= job.id and is_guess(owner_id, run_id) and read_job(owner_id)
    if owner_id and not (owner and owner.state == 'running' and owner.run_id == run_id) then return nil end
    if owner then take_guess(owner) end
    local freed = job.run_id
    take_guess(job)
    take_on(job, attempt, run_id, run_status, poll_after, false)
    leave_spare(job, attempt, freed, poll_after)
    return 5
  end
  if not ENDED[job.state] or owner_id then return nil end
  local owed = redis.call('HGET', job_key(job.id), 'owes')
  local other = owed and are_equal(owed, job.id) and read_job(owed)
  if other and other.state == 'unconfirmed' then
    redis.call('HDEL', job_key(job.id), 'owes')
    take_on(other, other.attempt, run_id, run_status, poll_after, false)
    return 5
  end
  redis.call('HSET', job_key(job.id), 'spare', run_id)
  return nil
end

local function record(i)
  local id, attempt, run_id, run_status = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local poll_after = ARGV[i + 4]
  local job = read_job(id)
  local code = 1
  -- Binding the run tells whether it is anybody's: of one that is nobody's, which is usual, no owner is read.
  local may_adopt = job and job.run_id ~= run_id and adopts(job, attempt)
  local is_bound = may_adopt and redis.call('HSETNX', runs_key(run_id), run_id, id) == 1
  local owner = not is_bound and redis.call('HGET', runs_key(run_id), run_id)
  if job and (job.run_id == run_id or owner == id) then
    code = 0
  elseif owner and owner ~= id and is_a_guess then
    code = 4
  elseif owner and owner ~= id and may_adopt and swap_with(owner, job, attempt, run_id, run_status, poll_after) then
    code = 5
  elseif not may_adopt and correct_guess(job, attempt, run_id, run_status, poll_after) then
    code = 5
  elseif owner and owner ~= id then
    code = 3
    if job and job.state == 'submitting' and job.attempt == attempt then
      to_unconfirmed(job, 'its run was taken for another job')
      note_step(job, 'unconfirmed', 'its run was taken for another job')
      remove_later('claims:' .. (job.process or ''), id)
    end
  elseif not may_adopt and is_a_guess then
    code = 4
  elseif not may_adopt then
    code = 2
    bump(totals, 'fenced:mark_running', 1)
    if add_stray(run_id, id, ARGV[i + 1], job and ('job was ' .. job.state) or 'job is gone') then
      looks[#looks + 1] = int(NOW + tonumber(poll_after))
      looks[#looks + 1] = run_id
    end
  else
    local is_taken = try(take_on, job, attempt, run_id, run_status, poll_after, is_bound)
    -- Said again, the run must not be known already.
    if is_bound and not is_taken then redis.call('HDEL', runs_key(run_id), run_id) end
  end
  reply[#reply + 1] = code
end

for i = 3, #ARGV, 5 do try(record, i) end
in_parts('ZADD', PREFIX .. 'poll', polls)
in_parts('ZADD', STRAY_LOOKS, looks)
save_joins()
try(note_adopted)
save()
raise_damage()
return reply
