-- use: counters save record webhooks strays jobs trust runs trail guesses lists
-- A run_id is known: submitting | unconfirmed → running; it is never dropped (it costs money).
-- ARGV  now_us, how they were found (0 = by the answer to the submission, 1 = by their requests only: a guess,
--       2 = by the attempt's own marker, which the run shows, 3 = a guess for jobs to be canceled, too: every other
--       equal job has a run), then 5 a job: id, attempt, run_id, run_status, poll_after_us (longer if a webhook
--       or a list of live runs will report its end)
-- Reply per job: 1 = adopted, 0 = known already, 2 = orphan run (the job has moved on, or is gone),
--       3 = the run is another job's (a search for an equal request found it first, and it has ended): the job, if it
--       waits for this answer, is unconfirmed now, for the other's run may be its own,
--       4 = the job has moved on, or the run is taken, and it was only a guess: nothing changed,
--       5 = adopted, by swapping it for a guess (lib/jobs/guesses.lua), or for what an answer had given another job
--       although the run shows this one's marker
local reply, polls, looks = {}, {}, {}
local by_marker, also_canceled = ARGV[2] == '2', ARGV[2] == '3'
local is_a_guess = ARGV[2] == '1' or also_canceled
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
  local claimed, date, since
  if is_a_guess then
    local f = redis.call('HMGET', job_key(job.id), 'claimed', 'claim_date')
    claimed, date = f[1], f[2]
    since = redis.call('ZSCORE', PREFIX .. 'unconfirmed', job.id) or redis.call('ZSCORE', PREFIX .. 'parked', job.id)
  end
  look_after(job, poll_after)
  if job.state == 'unconfirmed' then
    note_step(job, 'found', run_id .. (is_a_guess and ', told by its request' or ''))
  end
  adopt(job, attempt, run_id, run_status, is_bound)
  if is_a_guess then note_guess(job, run_id, claimed, since) end
  if date then redis.call('HSET', job_key(job.id), 'claim_date', date) end -- its run may be searched again
end

local function record(i)
  local id, attempt, run_id, run_status = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2], ARGV[i + 3]
  local poll_after = ARGV[i + 4]
  local job = read_job(id)
  local code = 1
  -- Binding the run shows whether it has an owner: usually it has none, and none is read.
  local may_adopt = job and job.run_id ~= run_id and adopts(job, attempt)
    and not (is_a_guess and job.cancel and not also_canceled)
  local is_bound = may_adopt and redis.call('HSETNX', runs_key(run_id), run_id, id) == 1
  local owner = not is_bound and redis.call('HGET', runs_key(run_id), run_id)
  local is_known = job and (job.run_id == run_id or owner == id)
  local taker, its_run, guess
  if not is_known and not is_a_guess then
    taker, its_run, guess = correct_guess(job, attempt, run_id, owner, may_adopt, by_marker)
  end
  if is_known then
    code = 0
  elseif taker then
    code = 5
    local is_told = its_run == run_id
    take_on(taker, taker.attempt, its_run, is_told and run_status or 'running', is_told and poll_after or 0, false)
    if guess then leave_spare(job, attempt, guess, tonumber(poll_after)) end
  elseif owner and owner ~= id and is_a_guess then
    code = 4
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
    -- In a repeated call the run must not be known already.
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
