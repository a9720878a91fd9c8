-- use: counters holds record times webhooks strays jobs trust
-- Adopting a run as a job's own, and its end.
-- An end that a poll saw is relayed once Skyvern's own webhook has had time to come (OUTRUN, trust.lua), not after its
-- three tries, which take up to 94 s. Whether one that Skyvern sends to the user arrived is checked first after 10 s.
local FIRST_WATCH = 10000000

-- Adopts the run of the current attempt, or of a higher one whose claim Redis lost.
local function adopts(job, attempt)
  if attempt == job.attempt then
    -- Given back too early; an attempt that had its run (`ran`) gets no second one.
    return job.state == 'submitting' or job.state == 'unconfirmed'
      or ((job.state == 'ready' or job.state == 'scheduled')
        and attempt > tonumber(redis.call('HGET', job_key(job.id), 'ran') or 0))
  end
  return attempt > job.attempt and (job.state == 'ready' or job.state == 'scheduled'
    or job.state == 'submitting' or job.state == 'unconfirmed')
end

-- The route (`via`) of the webhook of a run whose claim Redis lost: that of the last claim. It is only watched if
-- nothing shows that Skyvern sends it to our receiver, which may have had it already: a relay sends it twice at most.
local function find_via(job)
  if not has_webhook_url(envelope_of(job.id) .. '\n') then return end
  local is_watched = job.via ~= 'relay' and redis.call('HGET', META, 'receives') == '0'
  job.via = is_watched and 'watch' or 'relay'
  redis.call('HSET', job_key(job.id), 'via', job.via)
end

local adopted, accepted = 0, 0
-- `is_bound`: the run is bound to the job already.
local function adopt(job, attempt, run_id, run_status, is_bound)
  local id, key = job.id, job_key(job.id)
  local stray = has_strays() and redis.call('HGET', PREFIX .. 'strays', run_id)
  if stray then forget_stray(run_id, string.match(stray, '^%S+')) end
  if attempt ~= job.attempt or not (job.via or job.state == 'submitting') then find_via(job) end
  if job.state == 'submitting' then
    accepted = accepted + 1
    remove_later('claims:' .. (job.process or ''), id)
    redis.call('HDEL', key, 'process', 'claim_date', 'rates')
  elseif job.state == 'unconfirmed' then
    no_longer_unconfirmed(job)
    redis.call('HDEL', key, 'reason', 'rates')
    bump(totals, 'adopted', 1)
  elseif job.state == 'scheduled' then
    remove_later('due', id)
    redis.call('HDEL', key, 'run_at', 'reason')
  end
  if job.deaths > 0 then redis.call('HDEL', key, 'deaths') end
  count_state(job, 'running')
  observe('queue', NOW - tonumber(job.since or NOW))
  -- The record knows its attempt, unless Redis lost the claim.
  if attempt ~= job.attempt then redis.call('HSET', key, 'attempt', int(attempt)) end
  job.attempt, job.run_id, job.process, job.started = attempt, run_id, false, now_text()
  job.slot = false -- a parked one has its slot again, and gives it back if its end comes in this script
  redis.call('HSET', key, 'state', 'running', 'run_id', run_id, 'run_status', run_status, 'started', now_text())
  if not is_bound then redis.call('HSET', runs_key(run_id), run_id, id) end
  if job.cancel then redis.call('ZADD', PREFIX .. 'cancels', int(NOW), id) end
  adopted = adopted + 1
end

-- An acceptance shows that the account works: it ends a probe, or lets the next hold begin small. A run that was found
-- later shows nothing: it may be from before the trouble. An acceptance ends neither a wait that the server asked for
-- nor a hold that an operator has to end.
local function note_adopted()
  bump(totals, 'adopted_runs', adopted)
  bump(totals, 'submissions:accepted', accepted)
  if accepted == 0 then return end
  local held = redis.call('HMGET', META, 'hold_until', 'hold_probe', 'hold_person', 'troubles', 'refusals')
  if held[4] or held[5] then redis.call('HDEL', META, 'troubles', 'refusals') end
  if held[1] and not held[3] and (tonumber(held[1]) <= NOW or held[2] == '1') then end_hold() end
end

-- The end of a run was seen: removes its index entries and stores its result ('' = none is known, nil = it is stored).
local function leave_running(job, result)
  remove_later('poll', job.id)
  remove_later('listed', job.id)
  if job.cancel then
    remove_later('cancels', job.id)
    redis.call('HDEL', job_key(job.id), 'cancel_since')
  end
  if not result then return end
  if result ~= '' then
    redis.call('SET', PREFIX .. 'result:' .. job.id, result)
  elseif job.runs > 0 then
    redis.call('DEL', PREFIX .. 'result:' .. job.id) -- that of an earlier run
  end
end

local relays_due = false

-- From its end on a run's webhook has a state of its own; `signed` ('' = Skyvern's did not come, yet).
local function begin_delivery(job, signed)
  if job.via ~= 'relay' and job.via ~= 'watch' then return end
  local due = NOW + (job.via == 'watch' and FIRST_WATCH or OUTRUN)
  if signed ~= '' then
    redis.call('HSET', job_key(job.id), 'signed', signed)
    if job.via == 'relay' then due, relays_due = NOW, true end
  end
  count_delivery(job, 'pending')
  redis.call('HSET', job_key(job.id), 'delivery', 'pending')
  redis.call('ZADD', PREFIX .. delivery_index(job), int(due), job.id)
end

-- Ends a job with its run. A run that we canceled because its time was up has failed, whatever the server's status.
local function end_with_run(job, state, run_status, reason, result, signed)
  if job.cancel and state == 'canceled' and job.cancel ~= 'asked' then state, reason = 'failed', job.cancel end
  if state == 'canceled' and reason == '' then
    reason = job.cancel and 'canceled as was asked, with its run' or 'its run was canceled at Skyvern, not by the queue'
  end
  leave_running(job, result)
  if job.runs > 0 then redis.call('HDEL', job_key(job.id), 'reason') end -- that of an earlier run
  local fields = { 'run_status', run_status, 'runs', int(job.runs + 1) }
  if reason ~= '' then fields[5], fields[6] = 'reason', reason end
  end_job(job, state, fields)
  observe('result', NOW - tonumber(job.since or NOW))
  begin_delivery(job, signed)
end
