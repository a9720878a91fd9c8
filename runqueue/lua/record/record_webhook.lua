-- use: counters job_record budgets run_figures webhooks orphans webhook_health runs history request_matches poll_times pauses long_queued
-- Records webhooks of Skyvern's, each sent to the address of one attempt. The end of a run → completed | failed |
-- canceled, at once; a run that we did not know yet (the submission's answer is lost, or on its way) is adopted.
-- ARGV  now_us, then 11 a webhook: id, attempt, run_id, run_status, state (the end; '' = the run is live), signed
--       ('<signature> <timestamp>' as they came), final (1 = the job's `retry` was checked), body, created_us (when
--       Skyvern made the run; 0 = not reported), figures (what the run took, see run_figures.lua), reason (why
--       it has no result; '' = not reported)
-- Reply per webhook, a word:
--       ended     it ended the job
--       noted     the run is live
--       duplicate the end is known, as is that of an earlier attempt's run; a body that the user still waits for
--                 is kept
--       policy    followed by the policy's JSON ('' = none), the number of runs and the browser session ('' = none): a
--                 bad end of a job that may be run again, by its policy or since its session was occupied. The end is
--                 not recorded; call with final = 1, or retry_run.lua. Otherwise it is polled
--       orphan     the job has moved on, or the attempt's claim is not known: the run is an orphan run
--       other     the run is another job's, or of an earlier life of its key: nothing was recorded. A match by request
--                 (lib/runs/request_matches.lua) of either of the two jobs is corrected
--       unknown   no such job: a run that is live, or too new for its job to be removed, is an orphan run, and the
--                 job's once that is submitted again; an older one is not recorded
local PER_WEBHOOK = 11
local reply = {}

-- It came to us, whatever `webhook_route` is in the record (or missing, after a lost claim): only we deliver it to the
-- user.
local function came_to_us(job)
  if webhooks.comes_to_us(job) then return end
  local is_awaited = job.delivery or webhooks.has_url(redis.call('GET', q.prefix .. 'body:' .. job.id) or '')
  job.webhook_route = is_awaited and 'relay' or 'push'
  redis.call('HSET', job_key(q, job.id), 'webhook_route', job.webhook_route)
  if job.delivery == 'pending' then
    redis.call('ZREM', q.prefix .. 'watches', job.id)
    redis.call('ZADD', q.prefix .. 'relays', int(q.now), job.id)
    redis.call('HINCRBY', job_key(q, job.id), 'looks', 1) -- a check under way does not count any more
    q.relays_due = true
  end
end

-- What a webhook brings of an end that a poll saw without it. Only a webhook shows the category of an engine 1.0 task.
local function add_unknown(job, text)
  local figures, details = run_figures.read(text), q.prefix .. 'run_details_of'
  if (job.category or '') == '' then job.new_category = figures.category end
  if figures.credits and string.find(job.usage or '::', '^%d*::') then
    if figures.details then
      budgets.correct(q, redis.call('HGET', details, figures.details) or '', figures.credits)
      redis.call('HDEL', details, figures.details)
      counters.remove_later(q, 'run_details', figures.details)
    end
    job.usage, figures.steps = job.usage or (figures.steps and int(figures.steps) .. ':::'), nil -- the end had these
    run_figures.add(q, job, figures)
  end
  local fields = run_figures.put(job, {})
  if #fields > 0 then redis.call('HSET', job_key(q, job.id), unpack(fields)) end
end

-- A poll saw the run's end, or it was reported before. The user gets the first body that Skyvern signed; one that is
-- being sent now is not sent twice.
local function keep_body(job, run_id, signed, body, figures)
  if job.run_id ~= run_id then return end
  add_unknown(job, figures)
  webhook_health.webhook_came_late(q, job)
  came_to_us(job)
  if job.webhook_route ~= 'relay' or signed == '' then return end
  if not job.delivery then -- the run was abandoned, or its record has no webhook
    webhooks.count_delivery(q, job, 'pending')
    redis.call('HSET', job_key(q, job.id), 'delivery', 'pending')
  end
  if job.delivery == 'delivered' then return end
  local f = redis.call('HMGET', job_key(q, job.id), 'signed', 'sending')
  if f[1] then return end
  webhooks.store_signed(q, job.id, signed, body)
  if job.delivery == 'pending' and tonumber(f[2] or 0) <= q.now then
    redis.call('ZADD', q.prefix .. 'relays', int(q.now), job.id)
    q.relays_due = true
  end
end

-- A key whose first job was removed counts its attempts from 1 again: a run from before the job was enqueued is not its
-- own. A job is removed after RETENTION, or earlier, and then the attempts count on (jobs.lua). So a day is a safe
-- margin for clocks that differ: ours may have been set several times, and corrected (`clock_lost`); Skyvern's may be
-- behind it.
local function is_from_before(id, created)
  if created == 0 then return false end
  local since = tonumber(redis.call('HGET', job_key(q, id), 'created') or 0)
  local f = redis.call('HMGET', q.meta, 'clock_lost', 'date_ahead')
  return created + DAY + math.abs(tonumber(f[1] or 0)) - math.min(0, tonumber(f[2] or 0)) < since
end

-- A webhook cannot tell whether Redis lost the claim of an attempt that the record does not know, or nobody made it. It is
-- believed while lost claims are searched for, and of a job that may have had one. Else the run is an orphan: the job's
-- next claim takes it (own_orphans.lua), and a poll shows its end.
local function may_be_claimed(job, attempt)
  return attempt <= job.attempt or job.state == 'unconfirmed' or redis.call('HEXISTS', q.meta, 'recover_from') == 1
    or redis.call('HEXISTS', job_key(q, job.id), 'maybe_claimed_at') == 1
end

local function own_run_reported(job, run_status, state, signed, final, body, figures, reason)
  if state == '' then
    pauses.set_status(q, job.id, job.run_status, run_status)
    long_queued.note(q, job.id, job.run_status, run_status, job.started, job.begun)
    return 'noted'
  end
  came_to_us(job)
  local retry = state == 'failed' and not final and (redis.call('HGET', job_key(q, job.id), 'retry')
    or (string.find(reason, '^' .. job_record.OCCUPIED) and ''))
  if retry then
    redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', int(poll_times.after_webhook(q)), job.id)
    return { 'policy', retry, int(job.runs), string.match(' ' .. (job.keys or ''), ' session:(%S+)') or '' }
  end
  webhook_health.webhook_came(q, job)
  webhook_health.run_took(q, job)
  run_figures.observe(q, job, figures)
  runs.end_with_run(q, job, state, run_status, reason, body, signed)
  counters.bump(q.totals, 'seen:webhook', 1)
  return 'ended'
end

local function record(i)
  local id, attempt, run_id = q.args[i], tonumber(q.args[i + 1]), q.args[i + 2]
  local run_status, state, signed = q.args[i + 3], q.args[i + 4], q.args[i + 5]
  local final, body, created = q.args[i + 6] == '1', q.args[i + 7], tonumber(q.args[i + 8])
  local job = job_record.read(q, id)
  local owner = redis.call('HGET', job_record.runs_key(q, run_id), run_id)
  local may_adopt = job and runs.adopts(q, job, attempt) and may_be_claimed(job, attempt)
  local is_known = job and (owner == id or job.run_id == run_id)
  local is_older = job and not is_known and is_from_before(id, created)
  local taker, its_run, matched, verdict
  if not is_known and not is_older then
    taker, its_run, matched = request_matches.correct_request_match(q, job, attempt, run_id, owner, may_adopt, false)
  end
  if taker and (taker ~= job or its_run ~= run_id) then
    -- Each of two equal jobs has the other's run. The end reported here is found by polling the job that has it.
    runs.adopt(q, taker, taker.attempt, its_run, 'running')
    redis.call('ZADD', q.prefix .. 'poll', int(q.now), taker.id)
    verdict = 'other'
  elseif is_older or (owner and owner ~= id and not taker) then
    verdict = 'other'
  elseif is_known then
    if job.state == 'running' and job.run_id == run_id then
      verdict = own_run_reported(job, run_status, state, signed, final, body, q.args[i + 9], q.args[i + 10])
    else
      if state ~= '' then
        keep_body(job, run_id, signed, body, q.args[i + 9])
        if redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id) then
          orphans.is_over(q, run_id, q.args[i + 9])
        end
      end
      verdict = 'duplicate'
    end
  elseif not job and state ~= '' and created < q.now - SURELY_RETAINED then
    verdict = 'unknown'
  elseif may_adopt or taker then
    if job.state == 'unconfirmed' then history.add(q, job, 'found', run_id .. ', by its webhook') end
    runs.adopt(q, job, attempt, run_id, run_status)
    came_to_us(job)
    verdict = own_run_reported(job, run_status, state, signed, final, body, q.args[i + 9], q.args[i + 10])
    if verdict ~= 'ended' then
      redis.call('ZADD', q.prefix .. 'poll', int(poll_times.after_webhook(q, verdict == 'noted')), id)
    end
    if matched then request_matches.leave_late_run(q, job, attempt, matched, poll_times.AFTER_WEBHOOK) end
  else
    local fresh = orphans.add(q, run_id, id, int(attempt), job and ('job was ' .. job.state) or 'job is gone')
    if state == '' and fresh then
      redis.call('ZADD', q.prefix .. 'orphan_polls', int(poll_times.after_webhook(q)), run_id)
    elseif state ~= '' and (fresh or redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id)) then
      orphans.is_over(q, run_id, q.args[i + 9])
    end
    verdict = job and 'orphan' or 'unknown'
  end
  reply[#reply + 1] = verdict
end
for i = 2, #q.args, PER_WEBHOOK do record(i) end
return reply
