-- A run_id is known: submitting | unconfirmed → running; it is never refused (it costs money).
-- ARGV  now_us, guess (1 = these runs were told by their requests only), then 5 a job: id, attempt, run_id,
--       run_status, poll_after_us
-- Reply per job: 1 = adopted, 0 = known already, 2 = stray (the job has moved on, or is gone),
--       3 = the run is another job's (a search for an equal request found it first): the job, if it waits
--       for this answer, is unconfirmed now, for the other's run may be its own,
--       4 = the job has moved on, and the run was only a guess: nothing came of it
-- Adopted is the run of the current attempt, or of a higher one whose claim Redis lost.
local reply, polls, looks = {}, {}, {}
expect(PREFIX .. 'poll', 'zset')
for _, zset in ipairs({ 'stray_looks', 'unconfirmed', 'reconcile' }) do expect(PREFIX .. zset, 'zset') end
expect(PREFIX .. 'strays', 'hash')
pass_when_full()

local function adopts(job, attempt)
  if attempt == job.attempt then
    -- Given back too early; an attempt that had its run (`ran`) gets no second one.
    return job.state == 'submitting' or job.state == 'unconfirmed'
      or (job.state == 'ready' and attempt > tonumber(redis.call('HGET', job_key(job.id), 'ran') or 0))
  end
  return attempt > job.attempt and (job.state == 'ready' or job.state == 'scheduled'
    or job.state == 'submitting' or job.state == 'unconfirmed')
end

local adopted, accepted = 0, 0
for i = 3, #ARGV, 5 do
  local id, attempt, run_id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local job = read_job(id)
  local code = 1
  local owner = redis.call('HGET', runs_key(run_id), run_id)
  if job and (job.run_id == run_id or owner == id) then
    code = 0
  elseif owner and owner ~= id then
    code = 3
    if job and job.state == 'submitting' and job.attempt == attempt then
      to_unconfirmed(job, 'its run was taken for another job')
      remove_later('claims:' .. (job.process or ''), id)
    end
  elseif (not job or not adopts(job, attempt)) and ARGV[2] == '1' then
    code = 4
  elseif not job or not adopts(job, attempt) then
    code = 2
    if add_stray(run_id, id, ARGV[i + 1], job and ('job was ' .. job.state) or 'job is gone') then
      looks[#looks + 1] = int(NOW + tonumber(ARGV[i + 4]))
      looks[#looks + 1] = run_id
    end
  else
    if job.state == 'submitting' then
      accepted = accepted + 1
      remove_later('claims:' .. (job.process or ''), id)
      redis.call('HDEL', job_key(id), 'process')
    elseif job.state == 'unconfirmed' then
      no_longer_unconfirmed(job)
      redis.call('HDEL', job_key(id), 'reason')
      bump(totals, 'adopted', 1)
    elseif job.state == 'scheduled' then
      remove_later('due', id)
      redis.call('HDEL', job_key(id), 'run_at')
    end
    if job.deaths > 0 then redis.call('HDEL', job_key(id), 'deaths') end
    count_state(job, 'running')
    redis.call('HSET', job_key(id), 'state', 'running', 'attempt', ARGV[i + 1], 'run_id', run_id,
      'run_status', ARGV[i + 3], 'started', int(NOW))
    redis.call('HSET', runs_key(run_id), run_id, id)
    local stray = redis.call('HGET', PREFIX .. 'strays', run_id)
    if stray then forget_stray(run_id, string.match(stray, '^%S+')) end
    polls[#polls + 1] = int(NOW + tonumber(ARGV[i + 4]))
    polls[#polls + 1] = id
    if job.cancel then redis.call('ZADD', PREFIX .. 'cancels', int(NOW), id) end
    adopted = adopted + 1
  end
  reply[#reply + 1] = code
end
in_parts('ZADD', PREFIX .. 'poll', polls)
in_parts('ZADD', STRAY_LOOKS, looks)
bump(totals, 'adopted_runs', adopted)
-- An acceptance shows that the account works: a probe has found out, or the next hold begins small. A run
-- that was found later shows nothing: it may be from before the trouble. Nor does an acceptance say anything
-- against a wait that the server asked for, or against a hold that a person has to end.
if accepted > 0 then
  local held = redis.call('HMGET', META, 'hold_until', 'hold_probe', 'hold_person', 'troubles', 'refusals')
  if held[4] or held[5] then redis.call('HDEL', META, 'troubles', 'refusals') end
  if held[1] and not held[3] and (tonumber(held[1]) <= NOW or held[2] == '1') then end_hold() end
end
save()
return reply
