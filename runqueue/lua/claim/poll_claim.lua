-- use: counters active_consumers limits job_record orphans run_lists run_limits poll_times
-- Takes running jobs whose poll is due, and orphan runs; each is due again after `lease_us` unless it is recorded (an
-- orphan run after a tenth of its age, if that is longer).
-- With many live runs, list calls follow them: due jobs are left to the lists, and only those that a list does not
-- show (or that are canceled or overdue) are taken.
-- An orphan run that was not seen to end frees its slot after the longest time that a run may take.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), lease_us, max_run_us,
--       max_workflow_us (that of workflow runs), may_list (1 = this process may ask for lists), ahead_us (polls due
--       within it decide whether runs are many), least_us (shorter runs are cheaper to poll one by one)
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), per job: id ('' = an orphan run), attempt, run_id, run_status,
--         started_us, deadline_us ('' none), retry (the policy's JSON, '' none), runs (that ended before),
--         since_us (from when its time counts), limit_us (how long that is; both '' for an orphan run), session (the
--         browser session that it uses; '' none) }; a job whose cancel was requested has neither deadline nor limit
--       next_us = when the next poll is due, or a permit for it; consumer_left = 1: none due within a second, the
--       consumer is not active any more.
local DUE_SOON = 1000000
local MAX_JOINS = 500
local MAX_SKIPPED = 16 -- due jobs checked for joining the lists, once all permits are used
local MAX_OVER = 16 -- orphan runs checked for those whose time is over
local MOST_READ = 5 * run_lists.MANY
local ATTEMPT, STARTED, DEADLINE, RUNS, CANCEL, MAX_RUN, BEGUN, KEYS = 2, 5, 6, 8, 9, 10, 11, 12 -- in job_record.POLLED

-- How many GETs may be made of `want`, and when to ask again if that is fewer.
-- Polls ask more often than cancels, and would take every permit of a low rate: in every other second they leave one to
-- cancels that are due.
local function permits_for(q, limit, want)
  local room, next_us = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, want)
  local this_second = math.floor(q.now / 1000000)
  if room > 0 and limit.requests_per_second > 0 and this_second % 2 == 0
    and redis.call('ZCOUNT', q.prefix .. 'cancels', '-inf', int(q.now)) > 0 then
    room = room - 1
    if room == 0 then next_us = (this_second + 1) * 1000000 end
  end
  return room, next_us
end

-- Takes orphan runs, which get the permits that jobs leave, at least a quarter; of very few permits, one if it waited for
-- long. Returns how many.
local function take_orphans(q, claim, room)
  local due = redis.call('ZRANGEBYSCORE', q.prefix .. 'orphan_polls', '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0,
    math.max(room, MAX_OVER))
  if #due == 0 then return 0 end
  local due_jobs, looked, reply = redis.call('ZCOUNT', claim.polls, '-inf', int(q.now)), 0, claim.reply
  local share = math.max(room - due_jobs, math.floor(room / 4))
  if share < 1 and room > 0 and tonumber(due[2]) < q.now - claim.lease then share = 1 end
  for i = 1, math.min(#due, 2 * math.max(share, MAX_OVER)), 2 do
    local run_id = due[i]
    local record = redis.call('HGET', q.prefix .. 'orphans', run_id)
    local job_id, attempt, since = string.match(record or '', '^(%S+) (%d+) (%d+)')
    local last = 0
    if since then last = orphans.ends_at(q, run_id, job_id, tonumber(since), claim.max_run, claim.max_workflow) end
    if last > q.now then
      if looked >= share then break end
      local next_us = poll_times.of_orphan(q, tonumber(since), claim.lease, last)
      redis.call('ZADD', q.prefix .. 'orphan_polls', int(next_us), run_id)
      for _, field in ipairs({ '', attempt, run_id, '', since, '', '', '', '', '', '' }) do reply[#reply + 1] = field end
      looked = looked + 1
    else
      orphans.is_over(q, run_id)
    end
  end
  return looked
end

-- Reads a running job; since = from when its time counts, limit = how long that is; nil: there is none.
local function read_running(q, claim, id)
  local f = job_record.read_fields(q, id, job_record.POLLED)
  if not f then return nil end
  f.since = math.max(tonumber(f[STARTED] or 0), tonumber(f[BEGUN] or 0))
  f.limit = run_limits.of(q, id, f[MAX_RUN], f.since, claim.max_run, claim.max_workflow)
  return f
end

-- Leaves a job to the lists; that costs no permit.
local function joins_lists(q, claim, id, f)
  local started, deadline = tonumber(f[STARTED] or 0), tonumber(f[DEADLINE] or 0)
  if f[CANCEL] or (deadline > 0 and deadline <= q.now) or not run_lists.may_join(q, started, f.since, f.limit) then
    return false
  end
  claim.leased[#claim.leased + 1] = int(run_lists.join(q, id, f.since, f.limit))
  claim.leased[#claim.leased + 1] = id
  return true
end

-- Lists begin where many runs are due within `ahead_us`, and with these runs, due or not: with those alone that are due
-- now, too few for lists, they would end at once (lists_claim.lua), and begin again.
local function begin_lists(q, claim, lists)
  if q.args[8] ~= '1' or lists.off > q.now or (lists.mean and lists.mean < tonumber(q.args[10])) then return end
  local soon = int(q.now + tonumber(q.args[9]))
  -- With more runs than the pages show, the oldest would join although no page shows them: lists begin with fewer.
  local runs = redis.call('ZCARD', claim.polls)
  if runs < run_lists.MANY or runs > run_lists.MOST_LISTED
    or redis.call('ZCOUNT', claim.polls, '-inf', soon) < run_lists.MANY then
    return
  end
  lists.on, lists.max_run, lists.room = true, math.min(claim.max_run, claim.max_workflow), run_lists.MOST_LISTED
  local joined = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', claim.polls, '-inf', soon, 'LIMIT', 0, MOST_READ)) do
    local f = read_running(q, claim, id)
    if f and joins_lists(q, claim, id, f) then joined = joined + 1 end
    if joined == run_lists.MANY then break end
  end
  if joined == run_lists.MANY then
    redis.call('HSET', q.meta, 'lists_on', '1', 'lists_max_run', int(lists.max_run), 'list_at', int(q.now))
    in_parts('ZADD', claim.polls, claim.leased)
    run_lists.save_joins(q)
  else
    lists.on = false
  end
  claim.leased, q.list_joins = {}, {}
end

-- Takes a due job, or leaves it to the lists; false once no more need be checked. A listed job that gets no permit is
-- not read.
local function look_at(q, claim, id, is_listed)
  local is_read = not (is_listed and claim.gets >= claim.most)
  local f = is_read and read_running(q, claim, id)
  if is_read and not f then
    counters.remove_later(q, 'poll', id) -- it is gone
  elseif f and not is_listed and joins_lists(q, claim, id, f) then
    claim.skipped = 0
  elseif claim.gets >= claim.most then
    claim.skipped = claim.skipped + 1
    return claim.skipped < MAX_SKIPPED
  else
    claim.gets = claim.gets + 1
    claim.leased[#claim.leased + 1] = claim.leased_until
    claim.leased[#claim.leased + 1] = id
    local reply, n = claim.reply, #claim.reply
    reply[n + 1] = id
    if f[CANCEL] then f[DEADLINE], f.limit = false, 0 end
    for at = ATTEMPT, RUNS do reply[n + at] = f[at] or '' end
    if f.limit ~= claim.limit then claim.limit, claim.limit_text = f.limit, int(f.limit) end -- mostly the same
    reply[n + 9], reply[n + 10] = f[BEGUN] and int(f.since) or f[STARTED], claim.limit_text
    local has_session = f[KEYS] and string.find(f[KEYS], 'session:', 1, true)
    reply[n + 11] = has_session and string.match(' ' .. f[KEYS], ' session:(%S+)') or ''
  end
  return true
end

-- Checks the due jobs, a likely sufficient number at a time: with lists on, that is seldom all.
local function look_through(q, claim, lists, up_to, step)
  local from = 0
  while from < up_to do
    local count = math.min(step, up_to - from)
    local ids = redis.call('ZRANGEBYSCORE', claim.polls, '-inf', int(q.now), 'LIMIT', from, count)
    local listed = lists.on and #ids > 0 and redis.call('ZMSCORE', q.prefix .. 'listed', unpack(ids)) or {}
    for i, id in ipairs(ids) do
      if not look_at(q, claim, id, listed[i]) then return end
    end
    if #ids < count then return end
    from = from + count
  end
end

-- When the next poll is due; math.huge = there is none.
local function soonest(q, claim)
  local first = redis.call('ZRANGE', claim.polls, 0, 0, 'WITHSCORES')[2]
  local orphan = redis.call('ZRANGE', q.prefix .. 'orphan_polls', 0, 0, 'WITHSCORES')[2]
  return math.min(tonumber(first or math.huge), tonumber(orphan or math.huge))
end

local function body(q)
  local process, want, tick_us = q.args[2], tonumber(q.args[3]), tonumber(q.args[4])
  local refused = active_consumers.enter(q, 'poll', process, tick_us)
  if refused then return refused end
  local claim = { polls = q.prefix .. 'poll', lease = tonumber(q.args[5]), max_run = tonumber(q.args[6]),
    max_workflow = tonumber(q.args[7]), leased_until = int(q.now + tonumber(q.args[5])), reply = { 'ok', int(q.now), '0', 0 }, leased = {}, gets = 0, skipped = 0 }
  local lists = run_lists.read(q)
  local are_ending = not lists.on and redis.call('EXISTS', q.prefix .. 'listed') == 1
  if are_ending then run_lists.stop(q) end -- some runs of ended lists are left

  local limit = limits.read(q)
  local room, next_us = permits_for(q, limit, want)
  local looked = take_orphans(q, claim, room)
  if not lists.on and not are_ending then begin_lists(q, claim, lists) end
  claim.most = room - looked
  if want > 0 and lists.on and lists.room > 0 then
    look_through(q, claim, lists, math.max(claim.most, MAX_JOINS), math.max(claim.most, 0) + MAX_SKIPPED)
  elseif claim.most > 0 then
    look_through(q, claim, lists, claim.most, claim.most)
  end
  local taken = looked + claim.gets
  limits.take(q, 'request', limit.requests_per_second, taken)
  counters.bump(q.totals, 'calls:get', taken)
  in_parts('ZADD', claim.polls, claim.leased)
  if rawget(q, 'list_joins') then run_lists.save_joins(q) end
  if want > 0 and (next_us == 0 or taken < room) then -- there are permits left
    local due = soonest(q, claim)
    next_us = due < math.huge and due or 0
    if due > q.now + DUE_SOON then
      active_consumers.leave(q, 'poll', process)
      claim.reply[4] = 1
    end
  end
  claim.reply[3] = int(next_us)
  return claim.reply
end
