-- use: counters limits holds job_record jobs history key_limits
-- A job whose submission surely created no run goes back to the head of its lane, at no cost (nor of its keys' rates):
-- submitting | unconfirmed → ready (canceled if that was asked for, dead if its time was up meanwhile).
-- Also from unconfirmed: the only process that had this attempt reports late, but for certain, that no run came of it.
-- A job that the server could not accept for a reason of the job's own ('later') waits apart:
-- → scheduled, half a minute doubling to ten; its last try ends it (→ dead).
-- ARGV  now_us, why ('void' | 'not_sent' | 'busy' | 'limited' | 'account' | 'later'), wait_us (what the server asked
--       for, 0 = nothing), reason (shown while the account is held), named (a rate that the server named,
--       submissions a second; '' = none), then 2 a job: id, attempt
-- Reply per job: 1 = given back, 0 = not ours any more (another state or attempt)
-- limited (429) slows all workers down (see lib/account/limits.lua), and holds for as long as the server asked.
-- not_sent and busy hold the account's submissions for 1 s doubling to 60 s, or for what the server
-- asked; account holds them for 60 s and then lets one job through as a probe. 'void' and 'later' hold nothing.
local why, wait_us, reason, named = q.args[2], tonumber(q.args[3]), q.args[4], tonumber(q.args[5])
local KINDS = { account = 'account', limited = 'rate' }
local FIRST_HOLD, LONGEST_HOLD, ACCOUNT_HOLD = 1000000, 60000000, 60000000
local reply, given, probe_is_back = {}, 0, false

local MOST_TRIES = 20 -- about two and a half hours in all
local function try_later(job)
  if string.find(reason, job_record.OCCUPIED) then key_limits.pause_session(q, job) end
  local wait = not job.cancel and jobs.put_off(q, job, MOST_TRIES)
  if not wait then return jobs.end_without_run(q, job, reason) end
  local start = q.now + math.max(wait_us, wait)
  redis.call('HDEL', job_key(q, job.id), 'process', 'claimed_server_time')
  counters.count_state(q, job, 'scheduled')
  redis.call('HSET', job_key(q, job.id), 'state', 'scheduled', 'run_at', int(start), 'reason', reason)
  redis.call('ZADD', q.prefix .. 'due', int(start), job.id)
end

-- Many calls fail at once: only the first after the last hold has ended doubles the step.
local function hold()
  local f = redis.call('HMGET', q.meta, 'hold_until', 'hold_step', 'hold_person')
  if f[3] then return end
  local until_us, step = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if until_us <= q.now and why ~= 'limited' then step = math.min(math.max(step * 2, FIRST_HOLD), LONGEST_HOLD) end
  local wait = (why == 'account') and ACCOUNT_HOLD or (why == 'limited') and 0 or step
  redis.call('HSET', q.meta, 'hold_step', int(step))
  local longer = q.now + math.max(wait, wait_us)
  -- The reason shown is that of the hold which ends last.
  if longer > until_us then
    redis.call('HSET', q.meta, 'hold_until', int(longer), 'hold_kind', KINDS[why] or 'server', 'hold_reason', reason)
    redis.call('HDEL', q.meta, 'probing')
  end
  -- A wait that the server asked for is not ended early: neither by an acceptance nor by a probe.
  if wait_us > 0 then
    local asked = tonumber(redis.call('HGET', q.meta, 'asked_until') or 0)
    if q.now + wait_us > asked then
      redis.call('HSET', q.meta, 'asked_until', int(q.now + wait_us), 'asked_reason', reason)
    end
  end
  if why == 'account' then redis.call('HSET', q.meta, 'hold_probe', '1') end
end

-- A burst of 429s counts once: the pace is cut once a second at most.
local function slow_down()
  local f = redis.call('HMGET', q.meta, 'pace_at', 'second_n', 'last_second_n')
  if f[1] and q.now - tonumber(f[1]) < 1000000 and q.now >= tonumber(f[1]) then return end
  local limit = limits.read(q)
  local top = named
  if not top then
    top = limit.submissions
    if top == 0 then top = math.max(tonumber(f[2] or 0), tonumber(f[3] or 0), 1) end
  end
  if limit.full_submissions > 0 then top = math.min(top, limit.full_submissions) end
  redis.call('HSET', q.meta, 'pace_top', string.format('%.4f', math.max(top, limits.SLOWEST)), 'pace_at', int(q.now),
    'pace_named', named and '1' or '0', 'pace_cut',
    string.format('%.2f', f[1] and limits.FURTHER_CUT or limits.FIRST_CUT))
end

-- The last first, each to the head: the jobs of one claim are in their old order again.
local function record(i)
  local job, at = job_record.read(q, q.args[i]), (i - 4) / 2
  local was_unconfirmed = job and job.state == 'unconfirmed'
  if job and jobs.may_leave(q, job, q.args[i + 1]) then
    -- Its process counted as dead but lives: it could not reach Redis for a while.
    if was_unconfirmed and redis.call('HGET', job_key(q, job.id), 'died') == int(job.attempt) then
      job.deaths = redis.call('HINCRBY', job_key(q, job.id), 'deaths', -1)
      redis.call('HDEL', job_key(q, job.id), 'died')
    end
    key_limits.give_back_rate(q, job)
    if why ~= 'void' then history.add(q, job, 'given_back', why .. (reason ~= '' and ': ' .. reason or '')) end
    if why == 'later' and not job.upload_abandoned then try_later(job) else jobs.ready_again(q, job, true) end
    probe_is_back = probe_is_back or holds.is_probe(q, job.id)
    given = given + 1
    reply[at] = 1
  else
    reply[at] = 0
  end
end
for i = #q.args - 1, 6, -2 do record(i) end
counters.bump(q.totals, 'given_back:' .. why, given)
counters.bump(q.totals, 'fenced:give_back', (#q.args - 5) / 2 - given)
-- The probe came back without a result: the next may go when this hold ends.
if probe_is_back then
  local asked = tonumber(redis.call('HGET', q.meta, 'asked_until') or 0)
  redis.call('HSET', q.meta, 'hold_until', int(math.max(q.now, asked)))
  redis.call('HDEL', q.meta, 'probing')
end
-- A call repeated after a lost reply returns no job and extends no hold.
if why == 'limited' and given > 0 then
  slow_down()
  if wait_us > 0 then hold() end
elseif why ~= 'void' and why ~= 'later' and given > 0 then
  hold()
end
return reply
