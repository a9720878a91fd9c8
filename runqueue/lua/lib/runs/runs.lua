-- use: counters holds job_record times webhooks orphans jobs run_figures webhook_health pauses long_queued
-- Adopting a run as a job's own, and its end.
-- An end that a poll saw is relayed once Skyvern's own webhook has had time to come (OUTRUN, webhook_health.lua), not
-- after its three tries, which take up to 94 s. Whether one that Skyvern sends to the user arrived is checked first after 10 s.
local runs = {}
local FIRST_WATCH = 10000000

-- Adopts the run of the current attempt, or of a higher one whose claim Redis lost.
function runs.adopts(q, job, attempt)
  if attempt == job.attempt then
    -- Given back too early; an attempt that had its run (`ran`) gets no second one.
    return job.state == 'submitting' or job.state == 'unconfirmed'
      or ((job.state == 'ready' or job.state == 'scheduled')
        and attempt > tonumber(redis.call('HGET', job_key(q, job.id), 'ran') or 0))
  end
  return attempt > job.attempt and (job.state == 'ready' or job.state == 'scheduled'
    or job.state == 'submitting' or job.state == 'unconfirmed')
end

-- The route (`webhook_route`) of the webhook of a run whose claim Redis lost: that of the last claim. It is only
-- watched if nothing shows that Skyvern sends it to our receiver, which may have had it already: a relay sends it twice
-- at most.
local function find_webhook_route(q, job)
  if not webhooks.has_url(job_record.envelope_of(q, job.id) .. '\n') then return end
  local is_watched = job.webhook_route ~= 'relay' and redis.call('HGET', q.meta, 'receives') == '0'
  job.webhook_route = is_watched and 'watch' or 'relay'
  redis.call('HSET', job_key(q, job.id), 'webhook_route', job.webhook_route)
end

function runs.adopt(q, job, attempt, run_id, run_status)
  local id, key, now = job.id, job_key(q, job.id), now_text(q)
  local orphan = orphans.are_any(q) and redis.call('HGET', q.prefix .. 'orphans', run_id)
  if orphan then orphans.forget(q, run_id, string.match(orphan, '^%S+')) end
  if attempt ~= job.attempt or not (job.webhook_route or job.state == 'submitting') then find_webhook_route(q, job) end
  if job.state == 'submitting' then
    q.accepted_runs = q.accepted_runs + 1
    counters.remove_later(q, 'claims:' .. (job.process or ''), id)
    redis.call('HDEL', key, 'process', 'claimed_server_time', 'rates')
  elseif job.state == 'unconfirmed' then
    jobs.no_longer_unconfirmed(q, job)
    redis.call('HDEL', key, 'reason', 'rates')
    counters.bump(q.totals, 'adopted', 1)
  elseif job.state == 'scheduled' then
    counters.remove_later(q, 'due', id)
    redis.call('HDEL', key, 'run_at', 'reason')
  end
  if job.deaths > 0 then redis.call('HDEL', key, 'deaths') end
  counters.count_state(q, job, 'running')
  times.observe(q, 'queue', q.now - tonumber(job.since or q.now))
  -- The record knows its attempt, unless Redis lost the claim.
  if attempt ~= job.attempt then redis.call('HSET', key, 'attempt', int(attempt)) end
  job.attempt, job.run_id, job.process, job.started = attempt, run_id, false, now
  if run_status == 'paused' then pauses.set_status(q, id, nil, run_status) end
  job.slot = false -- one without a slot has its slot again, and gives it back if its end comes in this script
  redis.call('HSET', key, 'state', 'running', 'run_id', run_id, 'run_status', run_status, 'started', now)
  redis.call('HSET', job_record.runs_key(q, run_id), run_id, id) -- last: a run that has an owner is known
  if job.cancel then redis.call('ZADD', q.prefix .. 'cancels', int(q.now), id) end
  q.adopted_runs = q.adopted_runs + 1
end

-- An acceptance shows that the account works: it ends a probe, or lets the next hold begin small. A run that was found
-- later shows nothing: it may be from before the trouble. An acceptance ends neither a wait that the server asked for
-- nor a hold that an operator has to end.
function runs.note_adopted(q)
  local accepted = q.accepted_runs
  counters.bump(q.totals, 'adopted_runs', q.adopted_runs)
  counters.bump(q.totals, 'submissions:accepted', accepted)
  q.adopted_runs, q.accepted_runs = 0, 0
  if accepted == 0 then return end
  local held = redis.call('HMGET', q.meta, 'hold_until', 'hold_probe', 'hold_person', 'troubles', 'refusals')
  if held[4] or held[5] then redis.call('HDEL', q.meta, 'troubles', 'refusals') end
  if held[1] and not held[3] and (tonumber(held[1]) <= q.now or held[2] == '1') then holds.end_hold(q) end
end

-- The end of a run was seen: removes its index entries and stores its result ('' = none is known, nil = it is stored).
function runs.leave_running(q, job, result)
  counters.remove_later(q, 'poll', job.id)
  counters.remove_later(q, 'listed', job.id)
  if job.run_status == 'paused' then pauses.leave(q, job.id) end
  long_queued.leave(q, job.id, job.run_status, job.started)
  if job.cancel then
    counters.remove_later(q, 'cancels', job.id)
    redis.call('HDEL', job_key(q, job.id), 'cancel_since')
  end
  if not result then return end
  if result ~= '' then
    redis.call('SET', q.prefix .. 'result:' .. job.id, result)
  elseif job.runs > 0 then
    redis.call('DEL', q.prefix .. 'result:' .. job.id) -- that of an earlier run
  end
end

-- From its end on a run's webhook has a state of its own; `signed` ('' = Skyvern's did not come, yet).
function runs.begin_delivery(q, job, signed)
  if job.webhook_route ~= 'relay' and job.webhook_route ~= 'watch' then return end
  local due = q.now + (job.webhook_route == 'watch' and FIRST_WATCH or webhook_health.OUTRUN)
  if signed ~= '' then
    redis.call('HSET', job_key(q, job.id), 'signed', signed)
    if job.webhook_route == 'relay' then due, q.relays_due = q.now, true end
  end
  webhooks.count_delivery(q, job, 'pending')
  redis.call('HSET', job_key(q, job.id), 'delivery', 'pending')
  redis.call('ZADD', q.prefix .. webhooks.delivery_index(job), int(due), job.id)
end

-- Ends a job with its run. A run that we canceled because its time was up has failed, whatever the server's status.
function runs.end_with_run(q, job, state, run_status, reason, result, signed)
  if job.cancel and state == 'canceled' and job.cancel ~= 'asked' then state, reason = 'failed', job.cancel end
  if state == 'canceled' and reason == '' then
    reason = job.cancel and 'canceled as was asked, with its run' or 'its run was canceled at Skyvern, not by the queue'
  end
  runs.leave_running(q, job, result)
  if job.runs > 0 then redis.call('HDEL', job_key(q, job.id), 'reason') end -- that of an earlier run
  local fields = { 'run_status', run_status, 'runs', job.runs == 0 and '1' or int(job.runs + 1) }
  if reason ~= '' then fields[5], fields[6] = 'reason', reason end
  -- The steps of a completed job whose one run reported no more are in its result.
  if job.new_usage or job.new_category or (job.new_steps and state ~= 'completed') then run_figures.put(job, fields) end
  jobs.end_job(q, job, state, fields)
  times.observe(q, 'result', q.now - tonumber(job.since or q.now))
  runs.begin_delivery(q, job, signed)
end

return runs
