-- use: counters lanes limits holds save record jobs trail keys
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
local why, wait_us, reason, named = ARGV[2], tonumber(ARGV[3]), ARGV[4], tonumber(ARGV[5])
local KINDS = { account = 'account', limited = 'rate' }
local FIRST_HOLD, LONGEST_HOLD, ACCOUNT_HOLD = 1000000, 60000000, 60000000
local reply, given, probe_is_back = {}, 0, false
expect(PREFIX .. 'suspects', 'zset')
expect(PREFIX .. 'dead', 'zset')
expect(PREFIX .. 'due', 'zset')
pass_when_full()

local MOST_TRIES = 20 -- about two and a half hours in all
local function try_later(job)
  if string.find(reason, OCCUPIED) then key_limits.pause_session(job) end
  local wait = not job.cancel and put_off(job, MOST_TRIES)
  if not wait then return end_without_run(job, reason) end
  local start = NOW + math.max(wait_us, wait)
  redis.call('HDEL', job_key(job.id), 'process', 'claim_date')
  count_state(job, 'scheduled')
  redis.call('HSET', job_key(job.id), 'state', 'scheduled', 'run_at', int(start), 'reason', reason)
  redis.call('ZADD', PREFIX .. 'due', int(start), job.id)
end

-- Many calls fail at once: only the first after the last hold has ended doubles the step.
local function hold()
  local f = redis.call('HMGET', META, 'hold_until', 'hold_step', 'hold_person')
  if f[3] then return end
  local until_us, step = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if until_us <= NOW and why ~= 'limited' then step = math.min(math.max(step * 2, FIRST_HOLD), LONGEST_HOLD) end
  local wait = (why == 'account') and ACCOUNT_HOLD or (why == 'limited') and 0 or step
  redis.call('HSET', META, 'hold_step', int(step))
  local longer = NOW + math.max(wait, wait_us)
  -- The reason shown is that of the hold which ends last.
  if longer > until_us then
    redis.call('HSET', META, 'hold_until', int(longer), 'hold_kind', KINDS[why] or 'server', 'hold_reason', reason)
    redis.call('HDEL', META, 'probing')
  end
  -- A wait that the server asked for is not ended early: neither by an acceptance nor by a probe.
  if wait_us > 0 then
    local asked = tonumber(redis.call('HGET', META, 'asked_until') or 0)
    if NOW + wait_us > asked then
      redis.call('HSET', META, 'asked_until', int(NOW + wait_us), 'asked_reason', reason)
    end
  end
  if why == 'account' then redis.call('HSET', META, 'hold_probe', '1') end
end

-- A burst of 429s counts once: the pace is cut once a second at most.
local function slow_down()
  local f = redis.call('HMGET', META, 'pace_at', 'second_n', 'last_second_n')
  if f[1] and NOW - tonumber(f[1]) < 1000000 and NOW >= tonumber(f[1]) then return end
  local limits = read_limits()
  local top = named
  if not top then
    top = limits.dispatch
    if top == 0 then top = math.max(tonumber(f[2] or 0), tonumber(f[3] or 0), 1) end
  end
  if limits.full_dispatch > 0 then top = math.min(top, limits.full_dispatch) end
  redis.call('HSET', META, 'pace_top', string.format('%.4f', math.max(top, SLOWEST)), 'pace_at', int(NOW),
    'pace_named', named and '1' or '0', 'pace_cut', string.format('%.2f', f[1] and FURTHER_CUT or FIRST_CUT))
end

-- The last first, each to the head: the jobs of one claim are in their old order again.
local function record(i)
  local job, at = read_job(ARGV[i]), (i - 4) / 2
  local was_unconfirmed = job and job.state == 'unconfirmed'
  if job and LIVE[job.state] and job.attempt == tonumber(ARGV[i + 1]) and why ~= 'later' then
    expect_lane(job.priority, job.group, lane_of(job))
  end
  if job and may_leave(job, ARGV[i + 1]) then
    -- Its process counted as dead but lives: it could not reach Redis for a while.
    if was_unconfirmed and redis.call('HGET', job_key(job.id), 'died') == int(job.attempt) then
      job.deaths = redis.call('HINCRBY', job_key(job.id), 'deaths', -1)
      redis.call('HDEL', job_key(job.id), 'died')
    end
    key_limits.give_back_rate(job)
    if why ~= 'void' then note_step(job, 'given_back', why .. (reason ~= '' and ': ' .. reason or '')) end
    if why == 'later' and not job.given_up then try_later(job) else ready_again(job, true) end
    probe_is_back = probe_is_back or is_probe(job.id)
    given = given + 1
    reply[at] = 1
  else
    reply[at] = 0
  end
end
for i = #ARGV - 1, 6, -2 do try(record, i) end
bump(totals, 'given_back:' .. why, given)
bump(totals, 'fenced:give_back', (#ARGV - 5) / 2 - given)
-- The probe came back without a result: the next may go when this hold ends.
if probe_is_back then
  local asked = tonumber(redis.call('HGET', META, 'asked_until') or 0)
  redis.call('HSET', META, 'hold_until', int(math.max(NOW, asked)))
  redis.call('HDEL', META, 'probing')
end
-- A call repeated after a lost reply returns no job and extends no hold.
if why == 'limited' and given > 0 then
  slow_down()
  if wait_us > 0 then hold() end
elseif why ~= 'void' and why ~= 'later' and given > 0 then
  hold()
end
save()
raise_damage()
return reply
