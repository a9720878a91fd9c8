-- use: counters board limits job_record strays run_lists run_limits
-- Takes running jobs whose poll is due, and orphan runs; each is due again after `lease_us` unless it is recorded (an
-- orphan run after a tenth of its age, if that is longer).
-- With many live runs, list calls follow them: due jobs are left to the lists, and only those that a list does not
-- show (or that are canceled or overdue) are taken.
-- An orphan run that was not seen to end frees its slot after the longest time that a run may take.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), lease_us, max_run_us,
--       max_workflow_us (that of workflow runs), may_list (1 = this process may ask for lists), ahead_us (polls due
--       within it decide whether runs are many), least_us (shorter runs are cheaper to poll one by one)
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, left (0 | 1), per job: id ('' = an orphan run), attempt, run_id, run_status,
--         started_us, deadline_us ('' none), retry (the policy's JSON, '' none), runs (that ended before),
--         since_us (from when its time counts), limit_us (how long that is; both '' for an orphan run), session (the
--         browser session that it uses; '' none) }; a job whose cancel was requested has neither deadline nor limit
--       next_us = when a permit or the next poll is due; left = 1: none due within a second, the
--       consumer is not active any more.
local process, want, tick_us, lease = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), tonumber(q.args[5])
local max_run, max_workflow = tonumber(q.args[6]), tonumber(q.args[7])
local POLL = q.prefix .. 'poll'
local STAYS_FOR = 1000000
local MAX_JOINS = 500
local MAX_PASSED = 16 -- due jobs checked for joining the lists, once all permits are used
local MAX_OVER = 16 -- orphan runs checked for those whose time is over
local refused = board.enter(q, 'poll', process, tick_us)
if refused then return refused end

local lists = run_lists.read(q)
local are_ending = not lists.on and redis.call('EXISTS', q.prefix .. 'listed') == 1
if are_ending then run_lists.stop(q) end -- some runs of ended lists are left

local limit = limits.read(q)
local room, next_us = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, want)
-- Polls ask more often than cancels, and would take every permit of a low rate: in every other second they leave one to
-- cancels that are due.
local this_second = math.floor(q.now / 1000000)
if room > 0 and limit.requests_per_second > 0 and this_second % 2 == 0
  and redis.call('ZCOUNT', q.prefix .. 'cancels', '-inf', int(q.now)) > 0 then
  room = room - 1
  if room == 0 then next_us = (this_second + 1) * 1000000 end
end
local reply, leased, looked = {}, {}, 0

-- Orphan runs get the permits that jobs leave, at least a quarter; of very few permits, one if it waited for long.
local due = redis.call('ZCOUNT', POLL, '-inf', int(q.now))
local for_strays = math.max(room - due, math.floor(room / 4))
local due_strays = redis.call('ZRANGEBYSCORE', q.prefix .. 'stray_looks', '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0,
  math.max(for_strays, MAX_OVER))
if for_strays < 1 and room > 0 and due_strays[2] and tonumber(due_strays[2]) < q.now - lease then for_strays = 1 end
for i = 1, #due_strays, 2 do
  local run_id = due_strays[i]
  local told = redis.call('HGET', q.prefix .. 'strays', run_id)
  local job_id, attempt, since = string.match(told or '', '^(%S+) (%d+) (%d+)')
  local last = 0
  if since then last = strays.ends_at(q, run_id, job_id, tonumber(since), max_run, max_workflow) end
  if last > q.now then
    if looked >= for_strays then break end
    local next_look = q.now + math.max(lease, math.floor((q.now - tonumber(since)) / 10))
    redis.call('ZADD', q.prefix .. 'stray_looks', int(math.min(next_look, last)), run_id)
    for _, field in ipairs({ '', attempt, run_id, '', since, '', '', '', '', '', '' }) do reply[#reply + 1] = field end
    looked = looked + 1
  else
    strays.is_over(q, run_id)
  end
end

-- Reads a running job; since = from when its time counts, limit = how long that is; nil: there is none.
local ATTEMPT, STARTED, DEADLINE, RUNS, CANCEL, MAX_RUN, BEGUN, KEYS = 2, 5, 6, 8, 9, 10, 11, 12 -- in job_record.POLLED
local function read_running(id)
  local f = job_record.read_fields(q, id, job_record.POLLED)
  if not f then return nil end
  f.since = math.max(tonumber(f[STARTED] or 0), tonumber(f[BEGUN] or 0))
  f.limit = run_limits.of(q, id, f[MAX_RUN], f.since, max_run, max_workflow)
  return f
end

-- Leaves a job to the lists; that costs no permit.
local function joins_lists(id, f)
  local started, deadline = tonumber(f[STARTED] or 0), tonumber(f[DEADLINE] or 0)
  if f[CANCEL] or (deadline > 0 and deadline <= q.now) or not run_lists.may_join(q, started, f.since, f.limit) then
    return false
  end
  leased[#leased + 1] = int(run_lists.join(q, id, f.since, f.limit))
  leased[#leased + 1] = id
  return true
end

-- Lists begin where many runs are due within `ahead_us`, and with these runs, due or not: with those alone that are due
-- now, too few for lists, they would end at once (lists_claim.lua), and begin again.
local MOST_READ = 5 * run_lists.MANY
local function begin_lists()
  if q.args[8] ~= '1' or lists.off > q.now or (lists.mean and lists.mean < tonumber(q.args[10])) then return end
  local soon = int(q.now + tonumber(q.args[9]))
  -- With more runs than the pages show, the oldest would join although no page shows them: lists begin with fewer.
  if redis.call('ZCARD', POLL) > run_lists.MOST_LISTED or redis.call('ZCOUNT', POLL, '-inf', soon) < run_lists.MANY then
    return
  end
  lists.on, lists.max_run, lists.room = true, math.min(max_run, max_workflow), run_lists.MOST_LISTED
  local joined = 0
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', POLL, '-inf', soon, 'LIMIT', 0, MOST_READ)) do
    local f = read_running(id)
    if f and joins_lists(id, f) then joined = joined + 1 end
    if joined == run_lists.MANY then break end
  end
  if joined == run_lists.MANY then
    redis.call('HSET', q.meta, 'lists_on', '1', 'lists_max_run', int(lists.max_run), 'list_at', int(q.now))
    in_parts('ZADD', POLL, leased)
    run_lists.save_joins(q)
  else
    lists.on = false
  end
  leased, q.list_joins = {}, {}
end
if not lists.on and not are_ending then begin_lists() end

local most, gets, passed = room - looked, 0, 0
local next_look = int(q.now + lease)

-- Takes a due job, or leaves it to the lists; false once no more need be checked. A listed job that gets no permit is
-- not read.
local function look_at(id, is_listed)
  local is_read = not (is_listed and gets >= most)
  local f = is_read and read_running(id)
  if is_read and not f then
    counters.remove_later(q, 'poll', id) -- it is gone
  elseif f and not is_listed and joins_lists(id, f) then
    passed = 0
  elseif gets >= most then
    passed = passed + 1
    return passed < MAX_PASSED
  else
    gets = gets + 1
    leased[#leased + 1] = next_look
    leased[#leased + 1] = id
    local n = #reply
    reply[n + 1] = id
    if f[CANCEL] then f[DEADLINE], f.limit = false, 0 end
    for at = ATTEMPT, RUNS do reply[n + at] = f[at] or '' end
    reply[n + 9], reply[n + 10] = int(f.since), int(f.limit)
    reply[n + 11] = string.match(' ' .. (f[KEYS] or ''), ' session:(%S+)') or ''
  end
  return true
end

-- Checks the due jobs, a likely sufficient number at a time: with lists on, that is seldom all.
local function look_through(up_to, step)
  local from = 0
  while from < up_to do
    local count = math.min(step, up_to - from)
    local ids = redis.call('ZRANGEBYSCORE', POLL, '-inf', now_text(q), 'LIMIT', from, count)
    local listed = lists.on and #ids > 0 and redis.call('ZMSCORE', q.prefix .. 'listed', unpack(ids)) or {}
    for i, id in ipairs(ids) do
      if not look_at(id, listed[i]) then return end
    end
    if #ids < count then return end
    from = from + count
  end
end
if want > 0 and lists.on and lists.room > 0 then
  look_through(math.max(most, MAX_JOINS), math.max(most, 0) + MAX_PASSED)
elseif most > 0 then
  look_through(most, most)
end
limits.take(q, 'request', limit.requests_per_second, looked + gets)
counters.bump(q.totals, 'calls:get', looked + gets)
in_parts('ZADD', POLL, leased)
run_lists.save_joins(q)
local left = 0
if next_us == 0 and want > 0 then
  local soonest = math.huge
  for _, index in ipairs({ POLL, q.prefix .. 'stray_looks' }) do
    soonest = math.min(soonest, tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or math.huge))
  end
  next_us = soonest < math.huge and soonest or 0
  if soonest > q.now + STAYS_FOR then
    board.leave(q, 'poll', process)
    left = 1
  end
end
return { 'ok', int(q.now), int(next_us), left, unpack(reply) }
