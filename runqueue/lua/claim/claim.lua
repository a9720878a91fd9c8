-- use: counters lanes key_limits active_consumers limits changes server job_record webhooks orphans jobs own_orphans listing budgets
-- flags: refused-when-full
-- Takes ready jobs for submission: ready → submitting (dead: deadline over; scheduled: a strict budget has fewer steps left
-- than it needs, see budgets.lua; such jobs are ready again here, too, once there are enough).
-- Permit, slot and claim in one script: it takes as many jobs as the scarcest of the three allows.
-- ARGV  now_us, process, claim_id, want (≤ 500; 0 = only refresh), tick_us (0 = not the first),
--       stay_idle (0 | 1: stay active although nothing is ready), marked (0 | 1: whether the process
--       puts markers into its submissions), receives (0 | 1: whether it has webhooks sent to our receiver),
--       date_us (what Skyvern's own clock shows at least; '' = the process does not know)
-- Reply { 'stale' | 'fenced', now_us }: the consumer ends, see active_consumers.lua
--       { 'moved', now_us }: a Redis server that is not trusted (yet) answers, see server.lua
--       { 'ok', now_us, sequence, next_us, consumer_left (0 | 1), per job: id, attempt, body }
--       next_us = when a permit or the end of a hold is due (0 = nothing to wait for but work);
--       consumer_left = 1: nothing was taken and nothing is ready, the consumer is not active any more.
-- A repeated claim_id returns the same jobs and takes nothing more.
-- A job with an orphan run of an attempt that its record does not know (Redis lost that claim) is not submitted: it
-- gets that run.
-- A job that an earlier server may have claimed during its upload (mark_maybe_claimed.lua) is not submitted either: its
-- run is searched first.
-- A job whose process died during its submission may be the cause: it is taken alone, so that no other job of this claim
-- dies with it (crash loops: jobs.lua).
-- What it takes out of a ring, a list of lanes or a lane goes back, whatever happens (`at_end`).
-- What one claim skips at most: jobs that were read and not taken; turns of lanes and groups that brought no
-- job, or ended early. To defer a job for a budget counts as several skipped jobs. So many commands are run at most for
-- keys, and for the jobs that were taken, each of which counts as some.
local MAX_SKIPPED_JOBS, MAX_SKIPPED_TURNS, COSTS_DEFERRAL, MOST_COMMANDS, FOR_A_JOB = 1000, 200, 10, 900, 4
local PROBE_EVERY, LOOK_FOR_LIST = 60000000, 250000

local function bodies_of(q, ids)
  if #ids == 0 then return {} end
  local keys = {}
  for i, id in ipairs(ids) do keys[i] = q.prefix .. 'body:' .. id end
  return redis.call('MGET', unpack(keys))
end

-- Appends the jobs to a reply; `attempts` = theirs, by id, as far as they are known.
local function with_bodies(q, reply, ids, bodies, attempts)
  local n = #reply
  for i, id in ipairs(ids) do
    reply[n + 1] = id
    reply[n + 2] = attempts[id] or redis.call('HGET', job_key(q, id), 'attempt')
    reply[n + 3] = bodies[i] or ''
    n = n + 3
  end
  return reply
end

-- The reply to a claim that was made before: what it took and still has.
local function repeated(q, process, before)
  local mine = {}
  for id in string.gmatch(before, '%S+') do
    local f = job_record.read_fields(q, id, job_record.TAKEN)
    if f and f[1] == 'submitting' and f[3] == process then mine[#mine + 1] = id end
  end
  local sequence = redis.call('HGET', q.meta, 'sequence') or '0'
  return with_bodies(q, { 'ok', int(q.now), sequence, '0', 0 }, mine, bodies_of(q, mine), {})
end

-- How many jobs may be taken of `want`, when to ask again if that is fewer, and whether it is the probe after a hold;
-- `meta` = what `body` read of it.
local function free_capacity(q, limit, want, meta)
  local room, due, permit_due, list_due = want, 0, 0, 0
  if limit.concurrent_runs > 0 then
    local slots, others = limits.slots(q, limit)
    room = math.min(room, math.max(0, slots - orphans.slots_taken(q)))
    if limit.is_shared and not others and room > 0 and limits.wait_for_list(q) then
      room, list_due = 0, q.now + LOOK_FOR_LIST
    end
  end
  local hold_until = meta[4] and q.now + DAY or tonumber(meta[2] or 0) -- paused: until an operator resumes it
  local is_held = hold_until > q.now
  local is_probe = not is_held and hold_until > 0 and meta[3] == '1'
  if is_held then room = 0 elseif is_probe then room = math.min(room, 1) end
  room, permit_due = limits.allowed(q, 'submission', limit.submissions, limit.burst, room)
  room, due = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, room)
  return room, math.max(is_held and hold_until or 0, permit_due, due, list_due), is_probe
end

-- The route (`webhook_route`) of this attempt's webhook, see webhooks.lua; `before` is that of the attempt before.
local function set_webhook_route(q, claim, id, before, stored)
  local route = webhooks.has_url(stored) and (claim.receives and 'relay' or 'watch') or claim.receives and 'push'
  if route == before then return end
  if route then
    redis.call('HSET', job_key(q, id), 'webhook_route', route)
  else
    redis.call('HDEL', job_key(q, id), 'webhook_route')
  end
end

local function adopt_orphan(q, claim, id, job, known, route)
  local run_id, attempt = own_orphans.find(q, id, known)
  if not run_id then return false end
  local stored = bodies_of(q, { id })[1] or ''
  redis.call('HSET', job_record.runs_key(q, run_id), run_id, id)
  redis.call('ZADD', q.prefix .. 'poll', int(q.now), id)
  counters.count_state(q, job, 'running')
  set_webhook_route(q, claim, id, route, stored)
  redis.call('HSET', job_key(q, id), 'state', 'running', 'attempt', int(attempt), 'run_id', run_id, 'run_status',
    'created', 'started', int(q.now))
  -- Most have their slot already; a run that was seen to be over takes one again, until the job's own poll.
  if claim.limit.concurrent_runs > 0 and not redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id) then
    claim.room = claim.room - 1
  end
  orphans.forget(q, run_id, id)
  counters.bump(q.totals, 'adopted', 1)
  return true
end

-- True for a job that waits elsewhere now: taken over by another batch, or submitted again.
local function has_moved(job, priority, group, lane)
  if job.batch ~= lanes.batch_of(lane) or job.priority ~= priority or job.group ~= group then return true end
  -- Another job has its id now, and waits in a lane of its own keys.
  return job.keys and string.find(lane, '|', 1, true) and lane ~= lanes.keyed_of(job)
end

-- Takes a ready job for which there is room.
local function begin(q, claim, job, no_marker, route)
  counters.count_state(q, job, 'submitting')
  if claim.has_budgets then budgets.begin(q, job) end
  if job.keys then key_limits.begin(q, job) end
  local attempt = job.attempt == 0 and '1' or int(job.attempt + 1)
  redis.call('HSET', job_key(q, job.id), 'state', 'submitting', 'attempt', attempt, 'process', claim.process,
    'taken', claim.at, unpack(claim.fields))
  if claim.marked and no_marker then redis.call('HDEL', job_key(q, job.id), 'no_marker') end
  claim.attempts[job.id], claim.routes[job.id] = attempt, route
  claim.taken[#claim.taken + 1] = job.id
end

-- True when the job had a run already, which takes capacity of its group. A text: the job was not taken, since its keys, or
-- the budget that is named, have no room, or it is to be taken 'alone'. `goes_first`: it comes before jobs that wait for its
-- keys.
local function take(q, claim, id, priority, group, lane, goes_first)
  local state, attempt, batch, deadline, its_priority, its_group, deaths, maybe_claimed_at, quota_owner, no_marker, route,
    cancel, keys = unpack(job_record.read_fields(q, id, job_record.CLAIMED) or {})
  local job = { id = id, state = 'ready', priority = its_priority or '2', group = its_group or 'default',
    batch = batch or NO_BATCH, attempt = tonumber(attempt or 0), quota_owner = quota_owner, keys = keys,
    deadline = deadline, canary = lanes.is_canary(lane), goes_first = goes_first }
  if state ~= 'ready' or cancel or has_moved(job, priority, group, lane) then
    claim.skipped_jobs = claim.skipped_jobs + 1
    return
  end
  if orphans.are_any(q) and adopt_orphan(q, claim, id, job, job.attempt, route) then
    claim.skipped_jobs = claim.skipped_jobs + 1
    return true
  end
  local is_late = deadline and tonumber(deadline) <= q.now
  if maybe_claimed_at or is_late then
    claim.skipped_jobs = claim.skipped_jobs + 1
    if maybe_claimed_at then
      jobs.look_before_end(q, job, is_late and 'deadline' or nil)
    else
      jobs.end_job(q, job, 'dead', { 'reason', 'deadline: it passed while the job was queued' })
    end
    return
  end
  local is_alone = tonumber(deaths or 0) > 0
  if is_alone and #claim.taken > 0 then return 'alone' end
  local lack, budget, what
  if claim.has_budgets then lack, budget, what = budgets.lacks(q, job) end
  if lack == 'deferred' then
    claim.skipped_jobs = claim.skipped_jobs + COSTS_DEFERRAL
    budgets.defer(q, job, budget, what)
    return
  end
  local full = key_limits.first_full(q, job)
  if full then
    if q.key_turn then return 'keys' end
    claim.skipped_jobs = claim.skipped_jobs + 1 -- it moves to another lane
    key_limits.wait(q, job, full)
    return
  end
  if lack then
    budgets.hold(q, budget, what)
    return what
  end
  begin(q, claim, job, no_marker, route)
  if is_alone then claim.room = 1 end
end

local function room_in(q, claim, group)
  local f = claim.groups[group]
  if not f then
    local g = redis.call('HMGET', lanes.group_key(q, group), 'max_concurrent', 'live', 'paused')
    f = { max_concurrent = tonumber(g[1] or 0), live = tonumber(g[2] or 0), paused = g[3] }
    claim.groups[group] = f
  end
  if f.paused then return 0 end
  if f.max_concurrent == 0 then return claim.room end
  return math.max(0, f.max_concurrent - f.live - (q.group_live[group] or 0))
end

local function has_done_enough(q, claim)
  return claim.skipped_jobs >= MAX_SKIPPED_JOBS or claim.skipped_turns >= MAX_SKIPPED_TURNS
    or (q.key_commands > 0 and q.key_commands + FOR_A_JOB * #claim.taken >= MOST_COMMANDS)
end

-- Puts back the ids that were not taken, and the lane to the end of its list if it is not empty.
local function put_back_lane(q, out)
  local ids, name, turn = out.ids, out.name, out.turn
  out.ids, out.name = {}, nil
  local back = {}
  for i = #ids, out.first, -1 do back[#back + 1] = ids[i] end
  in_parts('LPUSH', out.lane, back)
  if out.stays_out or not lanes.runs(q, name) then return end
  local goes_on
  if lanes.keys_in(name) > 0 then
    goes_on = key_limits.leave(q, turn.priority, turn.group, name)
  else
    goes_on = #back > 0 or (not out.is_empty and redis.call('EXISTS', out.lane) == 1)
  end
  if goes_on then
    redis.call('RPUSH', turn.key, name)
    turn.lanes = turn.lanes + 1
  end
end

-- Takes a lane's share of jobs in its turn, until the turn's goal is reached; each job that had a run lowers the goal
-- by one. The lane is out of the list; with jobs left it goes to the end again.
local function from_lane(q, claim, turn, name)
  local out, share = claim.out, math.floor((turn.goal - #claim.taken) / turn.lanes)
  turn.lanes = turn.lanes - 1
  share, q.key_turn = math.max(1, share), nil
  if lanes.keys_in(name) > 0 then
    share = math.min(share, key_limits.enter(q, turn.priority, turn.group, name))
  end
  if not lanes.runs(q, name) then
    claim.skipped_turns = claim.skipped_turns + 1
    return
  end
  if share < 1 then claim.skipped_turns = claim.skipped_turns + 1 end
  out.ids = share > 0 and redis.call('LPOP', out.lane, share) or {}
  out.is_empty = #out.ids < share
  for _, id in ipairs(out.ids) do
    -- An orphan run was adopted and takes capacity, or this claim has done enough: the others go back.
    if #claim.taken >= math.min(turn.goal, claim.room) or has_done_enough(q, claim) then return end
    local outcome = take(q, claim, id, turn.priority, turn.group, name)
    if outcome == true then
      turn.goal = turn.goal - 1
    elseif outcome then
      claim.skipped_turns = claim.skipped_turns + 1
      if outcome == 'account' or outcome == 'alone' then
        claim.room = #claim.taken
      elseif string.sub(outcome, 1, 6) == 'batch:' then
        out.stays_out = true -- its lanes are listed again once it is checked
      elseif outcome ~= 'keys' then
        turn.is_full = true
      end
      return
    end
    out.first = out.first + 1
  end
end

-- Takes up to `quota` jobs of one group, its lanes in turn. Whether it has none left, and whether its budget is full.
local function from_lanes(q, claim, priority, group, quota)
  local key, out = lanes.list_key(q, priority, group), claim.out
  local turn = { priority = priority, group = group, key = key, lanes = redis.call('LLEN', key),
    goal = #claim.taken + quota }
  while turn.lanes > 0 and not turn.is_full and #claim.taken < math.min(turn.goal, claim.room)
    and not has_done_enough(q, claim) do
    local name = redis.call('LPOP', key)
    out.turn, out.name, out.lane, out.first = turn, name, lanes.key(q, priority, group, name), 1
    out.stays_out, out.is_empty = false, false
    from_lane(q, claim, turn, name)
    put_back_lane(q, out)
  end
  return turn.lanes == 0, turn.is_full
end

-- A group that was taken off its ring stays out; if jobs of it wait, it is marked, see `ring_leave`.
local function stay_out(q, claim, priority, group, virtual, may_not_go)
  redis.call('HSET', lanes.group_key(q, group), 'vt:' .. priority, virtual,
    unpack(may_not_go and { 'capped', '1' } or {}))
  claim.left_at = virtual -- the virtual time of the last one
end

-- One turn of a group, one of `groups_there`: takes its share of jobs; then the group goes to the end of the ring, or
-- stays out. True if it is in the ring again.
local function take_turn(q, claim, ring, priority, group, at, groups_there)
  local free, count = room_in(q, claim, group), #claim.taken
  if free == 0 then return stay_out(q, claim, priority, group, at, true) end
  local quota = math.max(1, math.floor((claim.room - count) / groups_there))
  local is_empty, is_full = from_lanes(q, claim, priority, group, math.min(quota, free))
  local virtual = int(tonumber(at) + lanes.TURN * (#claim.taken - count))
  if is_full then return stay_out(q, claim, priority, group, virtual, true) end
  if not is_empty then
    redis.call('ZADD', ring, virtual, group)
    return true
  end
  stay_out(q, claim, priority, group, virtual)
  -- With a slot taken, its final count of live jobs decides (changes.lua).
  if #claim.taken == count then lanes.expire_group(q, group) end
end

-- The groups of the rings take their turns.
local function claim_from_rings(q, claim)
  local out = claim.out
  for _, priority in ipairs({ '0', '1', '2', '3' }) do
    local ring = q.prefix .. 'ring:' .. priority
    local groups_there = #claim.taken < claim.room and redis.call('ZCARD', ring) or 0
    while groups_there > 0 and #claim.taken < claim.room and not has_done_enough(q, claim) do
      local first, count = redis.call('ZPOPMIN', ring), #claim.taken
      out.ring, out.at, out.group = ring, first[2], first[1]
      if not take_turn(q, claim, ring, priority, first[1], first[2], groups_there) then
        groups_there = groups_there - 1
      end
      out.group = nil
      if #claim.taken == count then claim.skipped_turns = claim.skipped_turns + 1 end
    end
    if claim.left_at then redis.call('HSET', q.meta, 'vt:' .. priority, claim.left_at) end
    claim.left_at = nil
  end
end

local function make_ready(q, job)
  counters.count_state(q, job, 'ready')
  redis.call('HSET', job_key(q, job.id), 'state', 'ready')
end

-- A job that was deferred is ready again, at the head of its lane, or of that of its keys if one has no room. In a new
-- window of its budget, the largest is claimed before all others, which might leave it too few steps again.
local function come_back(q, claim, id, is_largest)
  local job, ends = job_record.read(q, id), string.match(redis.call('HGET', job_key(q, id), 'deferred') or '', '(%d+)$')
  if not ends or job.state ~= 'scheduled' then return end
  redis.call('ZREM', q.prefix .. 'due', id)
  local lane, is_new = lanes.of(job), tonumber(ends) > 0 and tonumber(ends) <= q.now
  if not (is_largest and is_new and #claim.taken < claim.room and room_in(q, claim, job.group) > 0
    and lanes.runs(q, lane)) or job.cancel then
    local full = not job.cancel and lanes.runs(q, lane) and key_limits.first_full(q, job)
    if not full then return jobs.ready_again(q, job, true) end
    make_ready(q, job)
    job.goes_first = true
    return key_limits.wait(q, job, full)
  end
  make_ready(q, job)
  local outcome = take(q, claim, id, job.priority, job.group, lane, true)
  if type(outcome) == 'string' then lanes.push(q, job.priority, job.group, lane, { id }, true) end
end

-- Jobs that waited for keys or budgets are ready again where these have room.
local function offer_what_is_free(q, claim)
  key_limits.offer_due(q)
  if counters.are_budgets(q) then
    budgets.check_due(q)
    budgets.take_back(q, function(id, is_largest) come_back(q, claim, id, is_largest) end)
  end
  q.key_commands = math.min(q.key_commands, 500) -- whatever was offered, some jobs are claimed
end

local function record_claims(q, claim)
  local taken, scored = claim.taken, {}
  claim.bodies = bodies_of(q, taken)
  for i, id in ipairs(taken) do
    set_webhook_route(q, claim, id, claim.routes[id], claim.bodies[i] or '')
    scored[#scored + 1] = claim.at
    scored[#scored + 1] = id
  end
  redis.call('ZADD', q.prefix .. 'claims:' .. claim.process, unpack(scored))
  redis.call('SET', claim.key, table.concat(taken, ' '), 'PX', 120000)
  claim.sequence = redis.call('HINCRBY', q.meta, 'sequence', #taken)
  counters.bump(q.totals, 'claims', #taken)
  limits.count_submissions(q, #taken)
  limits.take(q, 'submission', claim.limit.submissions, #taken)
  limits.take(q, 'request', claim.limit.requests_per_second, #taken)
  if claim.is_probe then
    local until_us = int(q.now + PROBE_EVERY)
    redis.call('HSET', q.meta, 'hold_until', until_us, 'probing', until_us, 'probe', taken[1])
  end
end

-- Also after an error: a repeated claim_id returns what was taken.
local function save(q, claim)
  local out = claim.out
  if #claim.taken > 0 then record_claims(q, claim) end
  if out.name then put_back_lane(q, out) end
  if out.group then redis.call('ZADD', out.ring, out.at, out.group) end
end

-- When to claim again where there were permits for more: skipping and listing go in bounded steps, without a pause
-- between them.
local function next_claim(q, claim)
  if has_done_enough(q, claim) or listing.go_on(q) > 0 then return q.now end
  local look = (counters.are_limits(q) or q.any_key_held) and key_limits.next_check(q) or 0
  local budget_look = counters.are_budgets(q) and budgets.next_check(q) or 0
  if look == 0 or (budget_look > 0 and budget_look < look) then look = budget_look end
  return look
end

local function body(q)
  local process, want, date = q.args[2], tonumber(q.args[4]), q.args[9]
  local key = q.prefix .. 'claim:' .. q.args[3]
  local before = redis.call('GET', key)
  if before then return repeated(q, process, before) end
  if not server.is_trusted(q) then return { 'moved', int(q.now) } end
  local refused = active_consumers.enter(q, 'submit', process, tonumber(q.args[5]))
  if refused then return refused end

  local meta = redis.call('HMGET', q.meta, 'sequence', 'hold_until', 'hold_probe', 'paused', 'date_ahead', 'receives')
  if meta[6] ~= q.args[8] then redis.call('HSET', q.meta, 'receives', q.args[8]) end
  local limit = limits.read(q)
  if limit.pace_is_over then redis.call('HDEL', q.meta, 'pace_top', 'pace_at', 'pace_named', 'pace_cut') end
  -- `out` = what this claim took out and did not put back yet: a group of a ring, a lane of its list (`turn`, `name`), and
  -- ids of that lane, from `first` on. `groups` = what was read of them; `routes` = those of the jobs' earlier
  -- attempts.
  local claim = { process = process, key = key, at = int(q.now), marked = q.args[7] == '1',
    receives = q.args[8] == '1', fields = {}, limit = limit, sequence = tonumber(meta[1] or 0),
    has_budgets = budgets.are_any(q), taken = {}, attempts = {}, routes = {}, groups = {}, bodies = {},
    out = { ids = {} }, skipped_jobs = 0, skipped_turns = 0 }
  if date == '' and meta[5] then date = int(q.now + tonumber(meta[5])) end
  if date ~= '' then claim.fields = { 'claimed_server_time', date } end
  if not claim.marked then
    claim.fields[#claim.fields + 1] = 'no_marker'
    claim.fields[#claim.fields + 1] = '1'
  end
  local next_us
  claim.room, next_us, claim.is_probe = free_capacity(q, limit, want, meta)
  q.at_end = function() save(q, claim) end

  if claim.room > 0 and counters.are_limits(q) then offer_what_is_free(q, claim) end
  if claim.room > #claim.taken and lanes.anything_ready(q) then claim_from_rings(q, claim) end
  if #claim.taken < claim.room then next_us = next_claim(q, claim) end
  changes.save(q)
  local consumer_left = 0
  if want > 0 and #claim.taken == 0 and q.args[6] ~= '1' and not lanes.anything_ready(q) then
    active_consumers.leave(q, 'submit', process)
    consumer_left = 1
  end
  local reply = { 'ok', int(q.now), int(claim.sequence), int(next_us), consumer_left }
  return with_bodies(q, reply, claim.taken, claim.bodies, claim.attempts)
end
