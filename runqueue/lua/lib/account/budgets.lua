-- use: counters lanes batches orphans run_figures
-- Budgets: how many steps, or credits, the runs of an account, a group, a batch or a key may take, in a day, a month or
-- in all.
-- `budgets` has them by scope: 'account', 'group:<group>', 'batch:<batch>', 'key:<key>', 'key:<first segment>:*' (one for
-- each such key). '<amount> <steps | credits> <day | month | total> <strict: 0 | 1> <expected> <zone>
-- <offset>@<until_us>,…,<offset>': what a run takes while none has ended, and the zone's offsets from UTC in seconds.
-- What runs took is added when their ends are recorded, to the window in which that is (`spent:<scope>:<window>`, of
-- credits with ':credits' behind; what was only expected is corrected, see record_details.lua). What
-- live runs will take is expected: what runs of the budget took so far (`budget_runs` = '<runs> <amount>
-- <unit>'). Under a
-- strict budget it is their `max_steps` (`max_steps:<scope>`, by job, or 'orphan <run>'; 'sum' = all of them).
-- A job begins if what is spent, what is expected of live runs, and what is expected of it fit. If a strict budget has
-- steps left, but fewer than the job needs, the job is deferred, and others begin: it is `scheduled`, in
-- `deferred:<what>`, by the steps it needs, and ready again once so many are left. A job that can never fit, or that
-- has no `max_steps`, waits there, too, until the budget is changed. `deferred_for` = what has such jobs, by when it is
-- checked again. If nothing is left, or a budget that is not strict has no room, the job stays at the head of its lane,
-- and the account, its group or its batch waits (`held_budgets`, by when it is checked again); at the budget of a key
-- it waits as at a limit (key_limits.lua).
local budgets = {}

local MEAN_OF_RUNS = 1000 -- runs of which the mean is taken, roughly
local CHECK_EVERY_US, MOST_CHECKS = 5000000, 16
local DEFERRED_US = DAY -- after that a job that was deferred is ready in any case (promote_due.lua)
local CHECK_TAKES_US, MOST_DEFERRED, MOST_BACK = 50000, 32, 50 -- in one script: what is checked, and jobs that come back
local KEPT_US = 35 * DAY -- of a window that is over

function budgets.are_any(q)
  if q.has_budgets == nil then
    q.has_budgets = counters.are_budgets(q) and redis.call('EXISTS', q.prefix .. 'budgets') == 1
  end
  return q.has_budgets
end

local function offset_at(offsets, at)
  for offset, until_us in string.gmatch(offsets, '(%-?%d+)@?(%d*)') do
    if until_us == '' or at < tonumber(until_us) then return tonumber(offset) * 1000000 end
  end
  return 0
end

-- The month of a day since 1970, as 12 * year + month - 1, and the first day of a month: H. Hinnant, "chrono-Compatible
-- Low-Level Date Algorithms" (civil_from_days, days_from_civil). Years begin in March there.
local function month_of(day)
  local from_era = day + 719468
  local era = math.floor(from_era / 146097)
  local in_era = from_era - era * 146097
  local leap_days = math.floor(in_era / 1460) - math.floor(in_era / 36524) + math.floor(in_era / 146096)
  local year = math.floor((in_era - leap_days) / 365)
  local in_year = in_era - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  return (era * 400 + year) * 12 + math.floor((5 * in_year + 2) / 153) + 2
end
local function first_day_of(month)
  local year, since_march = math.floor((month - 2) / 12), (month - 2) % 12
  local era = math.floor(year / 400)
  local in_era = year - era * 400
  local leap_days = math.floor(in_era / 4) - math.floor(in_era / 100)
  return era * 146097 + in_era * 365 + leap_days + math.floor((153 * since_march + 2) / 5) - 719468
end

-- The window of now, and when it ends; nil = never.
local function window_of(q, record)
  if record.per == 'total' then return 0, nil end
  local day = math.floor((q.now + offset_at(record.offsets, q.now)) / DAY)
  local window = record.per == 'day' and day or month_of(day)
  local ends = (record.per == 'day' and day + 1 or first_day_of(window + 1)) * DAY
  return window, ends - offset_at(record.offsets, ends - offset_at(record.offsets, ends))
end

local function read_record(q, scope, text, runs)
  local amount, unit, per, strict, expected, zone, offsets = string.match(text,
    '^(%d+) (%a+) (%a+) ([01]) (%d+) (%S+) (%S+)$')
  if not amount then error({ err = 'WRONGTYPE ' .. q.prefix .. 'budgets: its ' .. scope .. ' cannot be read' }) end
  local record = { scope = scope, amount = tonumber(amount), unit = unit, per = per, is_strict = strict == '1',
    expected = tonumber(expected), offsets = offsets }
  record.window, record.ends = window_of(q, record)
  record.spent = q.prefix .. 'spent:' .. scope .. ':' .. int(record.window) .. (unit == 'steps' and '' or ':' .. unit)
  local n, sum = string.match(runs or '', '^(%d+) (%d+) ' .. unit .. '$')
  record.runs, record.taken = tonumber(n or 0), tonumber(sum or 0)
  return record
end

-- The budgets of scopes that have one, each read once a script.
function budgets.records_of(q, scopes)
  local unread = {}
  for _, scope in ipairs(scopes) do
    if q.budget_records[scope] == nil then unread[#unread + 1] = scope end
  end
  if #unread == 0 then return end
  local texts, runs = redis.call('HMGET', q.prefix .. 'budgets', unpack(unread)), nil
  for i, text in ipairs(texts) do
    if text and not runs then runs = redis.call('HMGET', q.prefix .. 'budget_runs', unpack(unread)) end
    q.budget_records[unread[i]] = text and read_record(q, unread[i], text, runs[i])
  end
end

-- How many orphan runs take what a group's or a batch's budget is for.
local function orphans_of(q, what)
  if not q.orphans_by_budget then
    q.orphans_by_budget = {}
    for _, takes in ipairs(orphans.are_any(q) and redis.call('HVALS', q.prefix .. 'orphan_takes') or {}) do
      local group, batch = string.match(takes, '^(%S+) (%S+)')
      if group then
        counters.bump(q.orphans_by_budget, 'group:' .. group, 1)
        counters.bump(q.orphans_by_budget, 'batch:' .. batch, 1)
      end
    end
  end
  return q.orphans_by_budget[what] or 0
end

-- How many runs are live of what a budget is for.
local function live_of(q, what)
  local kind, name = string.match(what, '^(%a+):?(.*)$')
  if kind == 'account' then return orphans.slots_taken(q) + (q.totals.live or 0) end
  if kind == 'group' then
    local live = tonumber(redis.call('HGET', lanes.group_key(q, name), 'live') or 0)
    return live + (q.group_live[name] or 0) + orphans_of(q, what)
  end
  if kind == 'batch' then
    local n = orphans_of(q, what)
    local f = redis.call('HMGET', batches.key(q, name), 'count:submitting', 'count:unconfirmed', 'count:running')
    for i, state in ipairs({ 'submitting', 'unconfirmed', 'running' }) do
      n = n + tonumber(f[i] or 0) + ((q.batch_totals[name] or {})['count:' .. state] or 0)
    end
    return n
  end
  return counters.live_with(q, name)
end

-- A job's `max_steps`, read when it is first needed: most accounts have no budgets.
function budgets.max_steps_of(q, job)
  if job.max_steps == nil then job.max_steps = redis.call('HGET', job_key(q, job.id), 'max_steps') end
  job.max_steps = tonumber(job.max_steps or nil) or false
  return job.max_steps or nil
end

local function mean_of(record) return record.runs > 0 and record.taken / record.runs or nil end

-- What a budget has left now: `left` = what neither ended nor live runs take.
local function state_of(q, record, what)
  local name = record.scope .. ' ' .. what
  local state = q.budget_states[name]
  if state then return state end
  local f = redis.call('HMGET', record.spent, what, what .. '?')
  state = { record = record, what = what, spent = tonumber(f[1] or 0), estimated = tonumber(f[2] or 0),
    live = live_of(q, what), committed = 0 }
  local each, known = mean_of(record) or record.expected, 0
  if record.is_strict then
    local sum = redis.call('HGET', q.prefix .. 'max_steps:' .. what, 'sum')
    if sum then state.committed, known = tonumber(sum), redis.call('HLEN', q.prefix .. 'max_steps:' .. what) - 1 end
  end
  state.committed = state.committed + math.max(0, state.live - known) * each
  state.left = record.amount - state.spent - state.committed
  q.budget_states[name] = state
  return state
end

-- The budgets of a job: { scope, what it is for } each. Those of its keys come last.
local function scopes_of(job)
  local scopes = { { 'account', 'account' }, { 'group:' .. job.group, 'group:' .. job.group } }
  if job.batch and job.batch ~= NO_BATCH then scopes[3] = { 'batch:' .. job.batch, 'batch:' .. job.batch } end
  for key in string.gmatch(job.keys or '', '%S+') do
    local what = 'key:' .. key
    scopes[#scopes + 1] = { what, what }
    scopes[#scopes + 1] = { 'key:' .. string.match(key, '^[^:]*') .. ':*', what }
  end
  return scopes
end

local function budgets_of(q, job)
  local found = q.budgets_by_job[job.id or job]
  if found then return found end
  local scopes, names = scopes_of(job), {}
  for i, scope in ipairs(scopes) do names[i] = scope[1] end
  budgets.records_of(q, names)
  found = {}
  for _, scope in ipairs(scopes) do
    if q.budget_records[scope[1]] then found[#found + 1] = { q.budget_records[scope[1]], scope[2] } end
  end
  q.budgets_by_job[job.id or job] = found
  return found
end

-- What a run is expected to take; its `max_steps` say nothing of credits.
local function expected_of(record, max_steps)
  return mean_of(record) or (record.unit == 'steps' and max_steps) or record.expected
end

-- What a job is expected to take of a budget, and no more than all of it, so that it may begin once nothing is spent.
local function need_of(record, max_steps)
  if record.is_strict then return max_steps or math.huge end
  return math.min(expected_of(record, max_steps), record.amount)
end

-- What keeps a job from beginning, a budget and what it is for: 'held', ... = there is nothing left for it or others;
-- 'deferred', ... = a strict budget has fewer steps left than it needs. nil = nothing does, or a key (key_limits.lua).
function budgets.lacks(q, job)
  if not budgets.are_any(q) then return nil end
  local deferred, its_what
  for _, budget in ipairs(budgets_of(q, job)) do
    local record, what = budget[1], budget[2]
    local left = state_of(q, record, what).left
    if need_of(record, budgets.max_steps_of(q, job)) > left then
      if record.is_strict and left >= 1 then
        if not deferred then deferred, its_what = record, what end
      elseif string.sub(what, 1, 4) ~= 'key:' then
        return 'held', record, what
      end
    end
  end
  if deferred then return 'deferred', deferred, its_what end
end

-- The account, a group or a batch waits for its budget.
function budgets.hold(q, record, what)
  local look = math.min(q.now + CHECK_EVERY_US, record.ends or math.huge)
  redis.call('ZADD', q.prefix .. 'held_budgets', int(look), what)
  q.any_budget_held = true
end

-- The scope and the steps of a strict budget that a job can never fit into: it has no `max_steps`, or more than these.
function budgets.refuses(q, job)
  if not budgets.are_any(q) then return nil end
  for _, budget in ipairs(budgets_of(q, job)) do
    local record = budget[1]
    if record.is_strict and (budgets.max_steps_of(q, job) or math.huge) > record.amount then
      return record.scope, record.amount
    end
  end
  return nil
end

-- How many jobs with a key, and with `max_steps`, its budgets have room for; math.huge = it has none.
function budgets.room_at(q, key, max_steps)
  if not budgets.are_any(q) then return math.huge end
  local what, room = 'key:' .. key, math.huge
  local pattern = 'key:' .. string.match(key, '^[^:]*') .. ':*'
  budgets.records_of(q, { what, pattern })
  for _, scope in ipairs({ what, pattern }) do
    local record = q.budget_records[scope]
    if record then
      local need, left = need_of(record, max_steps), state_of(q, record, what).left
      if record.is_strict and left < 1 then
        room = 0
      elseif not record.is_strict or need <= left then -- else the claim defers it
        room = math.min(room, math.floor(left / math.max(need, 1e-9)))
      end
    end
  end
  return room
end

-- A job begins.
function budgets.begin(q, job)
  if not budgets.are_any(q) then return end
  for _, budget in ipairs(budgets_of(q, job)) do
    local state = state_of(q, budget[1], budget[2])
    local need = need_of(budget[1], budgets.max_steps_of(q, job))
    state.live, state.committed, state.left = state.live + 1, state.committed + need, state.left - need
  end
end

-- A run of a budget is known to have taken so much.
local function learn(q, record, took)
  if record.runs >= MEAN_OF_RUNS then
    record.runs, record.taken = math.floor(record.runs / 2), math.floor(record.taken / 2)
  end
  record.runs, record.taken = record.runs + 1, record.taken + took
  redis.call('HSET', q.prefix .. 'budget_runs', record.scope,
    int(record.runs) .. ' ' .. int(record.taken) .. ' ' .. record.unit)
end

-- What was expected of a run is noted with its details, if they are to be read (details_claim.lua), for `correct`.
local function note_expected(q, run_id, record, what, n)
  local key = q.prefix .. 'run_details_of'
  local line = table.concat({ string.sub(record.spent, #q.prefix + 1), record.scope, what, int(n) }, ' ')
  local noted = redis.call('HGET', key, run_id)
  if noted then redis.call('HSET', key, run_id, noted .. '\n' .. line) end
end
function budgets.correct(q, lines, credits)
  for spent, scope, what, n in string.gmatch(lines, '\n(%S+) (%S+) (%S+) (%d+)') do
    local key = q.prefix .. spent
    if redis.call('HEXISTS', key, what .. '?') == 1 then -- else its window is long over, or it was cleared
      redis.call('HINCRBY', key, what, int(credits - tonumber(n)))
      if redis.call('HINCRBY', key, what .. '?', -1) <= 0 then redis.call('HDEL', key, what .. '?') end
      budgets.records_of(q, { scope })
      local record = q.budget_records[scope]
      if record and record.unit == 'credits' then learn(q, record, credits) end
    end
  end
  q.budget_states = {}
end

-- A run has ended; if it is not known what it took, that is as much as was expected.
local function spend(q, job, text)
  local figures = run_figures.read(text)
  for _, budget in ipairs(budgets_of(q, job)) do
    local record, what = budget[1], budget[2]
    local took = figures[record.unit]
    local n = took or math.floor(expected_of(record, budgets.max_steps_of(q, job)) + 0.5)
    redis.call('HINCRBY', record.spent, what, int(n))
    if not took then
      redis.call('HINCRBY', record.spent, what .. '?', 1)
      if record.unit == 'credits' and figures.details then note_expected(q, figures.details, record, what, n) end
    end
    if record.ends then redis.call('PEXPIRE', record.spent, int((record.ends - q.now + KEPT_US) / 1000)) end
    if took then learn(q, record, took) end
  end
end

-- Sets what a live run may take of what a budget is for, and the sum of all; 0 = its run is over.
local function set_max_steps(q, what, member, steps)
  local key = q.prefix .. 'max_steps:' .. what
  local before = tonumber(redis.call('HGET', key, member) or 0)
  if steps == before then return end
  if steps > 0 then redis.call('HSET', key, member, int(steps)) else redis.call('HDEL', key, member) end
  if redis.call('HINCRBY', key, 'sum', int(steps - before)) > 0 then
    redis.call('SADD', q.prefix .. 'commits', what)
  else
    redis.call('DEL', key)
    redis.call('SREM', q.prefix .. 'commits', what)
  end
end

-- Keeps what live runs may take of strict budgets, until they end, whatever budgets there are then.
local function commit(q, job, member, is_live)
  if not is_live then
    for _, scope in ipairs(scopes_of(job)) do set_max_steps(q, scope[2], member, 0) end
    return
  end
  for _, budget in ipairs(budgets_of(q, job)) do
    local steps = budget[1].is_strict and budgets.max_steps_of(q, job)
    if steps then set_max_steps(q, budget[2], member, steps) end
  end
end

local function any_deferred(q)
  if q.any_deferred == nil then q.any_deferred = redis.call('EXISTS', q.prefix .. 'deferred_for') == 1 end
  return q.any_deferred
end

-- When what has deferred jobs is checked again: the more there are, the later. `ends` = of its window.
local function check_deferred(q, what, ends)
  local look = q.now + math.max(CHECK_EVERY_US, redis.call('ZCARD', q.prefix .. 'deferred_for') * CHECK_TAKES_US)
  redis.call('ZADD', q.prefix .. 'deferred_for', int(math.min(look, ends or math.huge)), what)
  q.any_deferred = true
end

-- Defers a ready job that needs more than is left; `count_state` takes it out of the index with its state. Its field
-- `deferred` = '<what> <when the window ends; 0 = never>'.
function budgets.defer(q, job, record, what)
  local max_steps, key = budgets.max_steps_of(q, job), job_key(q, job.id)
  local ready_at = int(q.now + DEFERRED_US)
  counters.count_state(q, job, 'scheduled')
  redis.call('HSETNX', key, 'put_off', '0') -- this time is not its user's
  redis.call('HSET', key, 'state', 'scheduled', 'run_at', ready_at, 'deferred', what .. ' ' .. int(record.ends or 0))
  redis.call('ZADD', q.prefix .. 'due', ready_at, job.id)
  redis.call('ZADD', q.prefix .. 'deferred:' .. what, max_steps and int(max_steps) or '+inf', job.id)
  if not redis.call('ZSCORE', q.prefix .. 'deferred_for', what) then check_deferred(q, what, record.ends) end
end

-- The strict budgets of something: its own, and that of all keys with its first segment.
local function strict_ones_of(q, what)
  local segment, found = string.match(what, '^key:([^:]*)'), {}
  local scopes = { what, segment and 'key:' .. segment .. ':*' }
  budgets.records_of(q, scopes)
  for _, scope in ipairs(scopes) do
    local record = q.budget_records[scope]
    if record and record.is_strict then found[#found + 1] = record end
  end
  return found
end

-- How many steps the strict budgets of something have left, and when the first of their windows ends; no such budget =
-- math.huge.
local function left_of(q, what)
  local left, ends = math.huge, math.huge
  for _, record in ipairs(strict_ones_of(q, what)) do
    left = math.min(left, state_of(q, record, what).left)
    ends = math.min(ends, record.ends or math.huge)
  end
  return left, ends
end

-- Takes out of their index the jobs that enough steps are left for, the largest first. Calls back with each, the largest
-- last, so that it comes to the head of its lane, and with whether it is that.
function budgets.take_back(q, visit)
  if not any_deferred(q) then return end
  local back = 0
  local due = redis.call('ZRANGEBYSCORE', q.prefix .. 'deferred_for', '-inf', int(q.now), 'LIMIT', 0, MOST_DEFERRED)
  for _, what in ipairs(due) do
    local index, ids = q.prefix .. 'deferred:' .. what, {}
    local left, ends = left_of(q, what)
    while back + #ids < MOST_BACK do
      local most = left == math.huge and '+inf' or string.format('%.3f', left)
      local found = redis.call('ZREVRANGEBYSCORE', index, most, '-inf', 'WITHSCORES', 'LIMIT', 0, 1)
      if not found[1] then break end
      redis.call('ZREM', index, found[1])
      if left < math.huge then left = left - tonumber(found[2]) end
      ids[#ids + 1] = found[1]
    end
    for i = #ids, 1, -1 do visit(ids[i], i == 1) end
    back = back + #ids
    if redis.call('EXISTS', index) == 0 then
      redis.call('ZREM', q.prefix .. 'deferred_for', what)
    elseif back < MOST_BACK then
      check_deferred(q, what, ends)
    end
  end
end

local function any_held(q)
  if q.any_budget_held == nil then
    q.any_budget_held = counters.are_budgets(q) and redis.call('EXISTS', q.prefix .. 'held_budgets') == 1
  end
  return q.any_budget_held
end

-- What waits for its budget may try again when it is due; a claim finds out whether there is room.
function budgets.check_due(q)
  if not any_held(q) then return end
  local due = redis.call('ZRANGEBYSCORE', q.prefix .. 'held_budgets', '-inf', int(q.now), 'LIMIT', 0, MOST_CHECKS)
  for _, what in ipairs(due) do
    redis.call('ZREM', q.prefix .. 'held_budgets', what)
    local kind, name = string.match(what, '^(%a+):?(.*)$')
    if kind == 'group' then lanes.readmit(q, name) end
    if kind == 'batch' then lanes.list_lanes(q, name) end
  end
  if #due > 0 then lanes.wake(q) end
end

-- When one of these is due, or what has deferred jobs; 0 = none waits.
function budgets.next_check(q)
  local held = any_held(q) and redis.call('ZRANGE', q.prefix .. 'held_budgets', 0, 0, 'WITHSCORES')[2]
  local deferred = any_deferred(q) and redis.call('ZRANGE', q.prefix .. 'deferred_for', 0, 0, 'WITHSCORES')[2]
  if held and deferred then return math.min(tonumber(held), tonumber(deferred)) end
  return tonumber(held or deferred or 0)
end

-- Writes what the script noted.
function budgets.save(q, commits, spends)
  local has_commits = #commits > 0 and redis.call('EXISTS', q.prefix .. 'commits') == 1
  for _, one in ipairs(commits) do
    has_commits = has_commits or (one[3] and budgets.are_any(q))
    if has_commits then commit(q, one[1], one[2], one[3]) end
  end
  for _, one in ipairs(budgets.are_any(q) and spends or {}) do spend(q, one[1], one[2]) end
  q.budget_states = {}
end

-- For waits.lua: a budget that has no room for a job now.
local function as_full(q, record, what, need)
  local state = state_of(q, record, what)
  local never = record.is_strict and need and need > record.amount
  return { what = what, scope = record.scope, ends = record.ends, amount = record.amount, unit = record.unit,
    per = record.per,
    spent = state.spent, committed = state.committed,
    never = never and (need == math.huge and 'no max_steps' or 'too large') or '',
    need = record.is_strict and need and need < math.huge and int(need) or '' }
end

-- The budgets that have no room for a job; of keys only those that `may_check` lets it look at.
function budgets.without_room(q, job, may_check)
  local found = {}
  for _, budget in ipairs(budgets.are_any(q) and budgets_of(q, job) or {}) do
    local record, what = budget[1], budget[2]
    local key = string.match(what, '^key:(.*)$')
    local need = need_of(record, budgets.max_steps_of(q, job))
    if (not key or may_check(key)) and need > state_of(q, record, what).left then
      found[#found + 1] = as_full(q, record, what, need)
    end
  end
  return found
end

-- The budget of the account or a batch, if it is spent, or jobs wait for it; nil = neither, or there is none.
function budgets.without_room_of(q, what)
  if not budgets.are_any(q) then return nil end
  budgets.records_of(q, { what })
  local record = q.budget_records[what]
  local is_full = record
    and (state_of(q, record, what).spent >= record.amount or redis.call('ZSCORE', q.prefix .. 'held_budgets', what))
  return is_full and as_full(q, record, what) or nil
end

-- What some jobs were deferred for: `what` of their budgets.
function budgets.list_deferred(q, most) return redis.call('ZRANGE', q.prefix .. 'deferred_for', 0, most - 1) end

-- The strict budget that defers the job that needs the fewest steps: one that it can never fit into, else the one
-- with the fewest steps left; nil = no job was deferred.
function budgets.with_deferred_jobs(q, what)
  local need = budgets.are_any(q) and redis.call('ZRANGE', q.prefix .. 'deferred:' .. what, 0, 0, 'WITHSCORES')[2]
  local found, least = nil, math.huge
  for _, record in ipairs(need and strict_ones_of(q, what) or {}) do
    local left = tonumber(need) > record.amount and -math.huge or state_of(q, record, what).left
    if left < least then found, least = record, left end
  end
  return found and as_full(q, found, what, tonumber(need)) or nil
end

-- For list_budgets.lua, which reads several budgets at once.
function budgets.read(q, scope, what)
  budgets.records_of(q, { scope })
  return q.budget_records[scope] and state_of(q, q.budget_records[scope], what)
end

return budgets
