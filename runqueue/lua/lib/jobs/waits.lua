-- use: counters lanes limits key_limits budgets batches orphans paused_groups long_queued
-- Why jobs are not submitted now: the one place that finds the reasons, of a job, a batch and the account. A reason is
-- { kind, name, until_us ('' = not known), what else there is to say of it … }; records/waits.py has the words:
--   account_paused  '', '', why and by whom          no_worker       '', ''
--   account_held    kind of the hold, until, why     slots           '', '', how many, runs of others
--   rate            '', next one, submissions a s    batch           batch, '', open | paused | canary | aborted | expired
--   group_paused    group ('?' = too many to check)  group_full      group, '', max_concurrent
--   key_full        key, '', limit                   key_occupied    key, until
--   key_rate        key, next one, us between two    key_line        key, ''
--   budget          what it is for, end of its window, scope, amount, unit, per, spent, committed, why it can
--                   never fit ('' | no max_steps | too large), steps that a strict one must have left ('' = any)
--   scheduled       '', begin                        search          on_unconfirmed, next search
--   queued          '', '', since when its run is live, when it was last seen in `queued` (long_queued.lua)
-- Nothing is written. Of many jobs in one call the first 500 keys are looked at (`wait_keys_left`), with their budgets, and
-- as many places in line. Of a batch the first job of each of some lanes is looked at, so many lanes in one call.
local waits = {}
local LANES_OF_A_BATCH = 4

local function time_or_none(us) return us and int(us) or '' end

-- The reasons of the account, of groups, batches and keys are each read once a script.
local function once(q, name, find, ...)
  if not q.known_waits[name] then q.known_waits[name] = find(...) end
  return q.known_waits[name]
end

local function add(list, ...)
  for _, more in ipairs({ ... }) do
    for _, reason in ipairs(more) do list[#list + 1] = reason end
  end
  return list
end

local function each_once(list)
  local found, is_named = {}, {}
  for _, reason in ipairs(list) do
    local name = reason[1] .. ' ' .. reason[2]
    if not is_named[name] then found[#found + 1] = reason end
    is_named[name] = true
  end
  return found
end

local function of_budget(budget)
  return { 'budget', budget.what, time_or_none(budget.ends), budget.scope, int(budget.amount), budget.unit, budget.per,
    int(budget.spent), string.format('%.0f', budget.committed), budget.never, budget.need }
end

local function budget_without_room(q, what)
  return once(q, 'budget ' .. what, function()
    local found = counters.are_budgets(q) and budgets.without_room_of(q, what)
    return found and { of_budget(found) } or {}
  end)
end

-- What keeps all jobs of the account from being submitted until something is done or a time comes.
local function stops(q)
  return once(q, 'account', function()
    local found = {}
    local f = redis.call('HMGET', q.meta, 'paused', 'hold_until', 'hold_kind', 'hold_reason')
    if f[1] then found[1] = { 'account_paused', '', '', f[1] } end
    if tonumber(f[2] or 0) > q.now then
      found[#found + 1] = { 'account_held', f[3] or 'person', f[2], f[4] or '' }
    end
    if redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.now), '+inf') == 0 then
      found[#found + 1] = { 'no_worker', '', '' }
    end
    return found
  end)
end

function waits.of_account(q) return add({}, stops(q), budget_without_room(q, 'account')) end

-- What the next submission of the account waits for.
local function limits_of_account(q)
  return once(q, 'limits', function()
    local found, limited = {}, limits.read(q)
    local slots, others = limits.slots(q, limited)
    if slots > 0 and orphans.slots_taken(q) >= slots then
      found[1] = { 'slots', '', '', int(slots), int(others or 0) }
    end
    for _, each in ipairs({ { 'submission', limited.submissions }, { 'request', limited.requests_per_second } }) do
      local rate = each[2]
      local owed = rate > 0 and limits.owed_until(q, each[1], limits.interval_of(rate), limited.burst)
      if owed and limits.room_now(q, rate, limited.burst, owed) == 0 then
        found[#found + 1] = { 'rate', '', int(owed - (limited.burst - 1) * limits.interval_of(rate)),
          string.format('%.6f', limited.submissions) }
        break
      end
    end
    return found
  end)
end

local function of_group(q, group)
  return once(q, 'group ' .. group, function()
    local found = {}
    local f = redis.call('HMGET', lanes.group_key(q, group), 'paused', 'max_concurrent', 'live')
    if f[1] then found[1] = { 'group_paused', group, '' } end
    local most = tonumber(f[2] or 0)
    if most > 0 and tonumber(f[3] or 0) >= most then found[#found + 1] = { 'group_full', group, '', f[2] } end
    return found
  end)
end

-- What holds a batch itself; a job of its canary is not held by the canary.
local function hold_of_batch(q, batch)
  return once(q, 'batch ' .. batch, function()
    local f = redis.call('HMGET', batches.key(q, batch), 'sealed', 'held')
    local how = f[2] or (f[1] ~= '1' and 'open')
    return how and how ~= 'canceled' and { { 'batch', batch, '', how } } or {}
  end)
end

local function may_check(q, key)
  if not q.wait_keys_seen[key] and q.wait_keys_left > 0 then
    q.wait_keys_seen[key], q.wait_keys_left = true, q.wait_keys_left - 1
  end
  return q.wait_keys_seen[key]
end

local function of_keys(q, job)
  local found = {}
  if not key_limits.may_limit(q, job.keys) then return found end
  for key in counters.keys_of(job) do
    if may_check(q, key) then add(found, once(q, 'key ' .. key, key_limits.waits_at, q, key)) end
  end
  return found
end

-- A job of a lane that waits at a key which has room: others come first, or the key is looked at in a moment.
local function of_line(q, job, found)
  for _, reason in ipairs(found) do
    if string.sub(reason[2], 1, 4) == 'key:' or string.sub(reason[1], 1, 4) == 'key_' then return {} end
  end
  if once(q, 'lines', redis.call, 'EXISTS', q.prefix .. 'held_keys') == 0 then return {} end
  local lane = lanes.keyed_of(job)
  local name = 'lane ' .. job.priority .. ':' .. job.group .. ':' .. lane
  if not q.known_waits[name] then
    if q.wait_places_left <= 0 then return {} end
    q.wait_places_left = q.wait_places_left - lanes.keys_in(lane)
  end
  return once(q, name, function()
    local at = lanes.waits_at(q, job.priority, job.group, lane)
    return at and { { 'key_line', at, '' } } or {}
  end)
end

local function of_budgets(q, job)
  local found = {}
  if not counters.are_budgets(q) then return found end
  for _, budget in ipairs(budgets.without_room(q, job, function(key) return may_check(q, key) end)) do
    found[#found + 1] = of_budget(budget)
  end
  return found
end

-- What lasts: a job that is scheduled meets it, too.
local function lasting(q, job)
  local found = add({}, stops(q), of_budgets(q, job))
  if job.batch ~= NO_BATCH then
    local held = hold_of_batch(q, job.batch)
    if not (job.canary and held[1] and held[1][4] == 'canary') then add(found, held) end
  end
  return found
end

local function is_ready_in(q, lane, batch)
  local id = redis.call('LINDEX', lane, 0)
  local f = redis.call('HMGET', job_key(q, id or ''), 'state', 'batch', 'keys', 'max_steps')
  if f[1] ~= 'ready' or f[2] ~= batch then return nil end
  return { id = id, batch = batch, keys = f[3] or nil, max_steps = tonumber(f[4] or nil) or false }
end

-- What the first job of a place of a batch's lanes waits for: budgets and rates of keys. Where none is ready there, but
-- jobs were deferred for a budget of the group: that budget. nil = none is known to wait there.
local function of_place(q, batch, place)
  local priority, group, keys = string.match(place, '^(%d):([^|]*)(.*)$')
  local job = is_ready_in(q, lanes.key(q, priority, group, batch .. keys), batch)
    or is_ready_in(q, lanes.key(q, priority, group, batch .. lanes.CANARY .. keys), batch)
  if not job then
    local budget = counters.are_budgets(q) and budgets.with_deferred_jobs(q, 'group:' .. group)
    return budget and { of_budget(budget) }
  end
  job.group = group
  local found = of_budgets(q, job)
  for _, reason in ipairs(job.keys and of_keys(q, job) or {}) do
    if reason[1] == 'key_rate' then found[#found + 1] = reason end
  end
  return found
end

-- Budgets and rates of keys that some lanes of a batch wait for, all that were looked at; {} = one may go on.
local function of_lanes(q, batch)
  local found = {}
  if not (counters.are_limits(q) or counters.are_budgets(q)) then return found end
  local places = redis.call('SSCAN', q.prefix .. 'batch_lanes:' .. batch, '0', 'COUNT', LANES_OF_A_BATCH)[2]
  for i = 1, math.min(#places, LANES_OF_A_BATCH, q.wait_lanes_left) do
    q.wait_lanes_left = q.wait_lanes_left - 1
    local reasons = of_place(q, batch, places[i])
    if reasons and #reasons == 0 then return {} end
    add(found, reasons or {})
  end
  return found
end

function waits.of_batch(q, batch)
  local found = add({}, waits.of_account(q), hold_of_batch(q, batch), budget_without_room(q, 'batch:' .. batch))
  local group = paused_groups.of(q, batch)
  if group ~= '' then found[#found + 1] = { 'group_paused', group, '' } end
  local is_read, more = pcall(of_lanes, q, batch)
  return each_once(add(found, is_read and more or {}))
end

-- What jobs of the account wait for where none is in line: ready ones, for some of their groups, batches, keys and
-- budgets; those that were deferred, for some budgets.
local PLACES_LOOKED_AT, PLACES_NAMED = 32, 4
local function of_some(list, names, reasons_of)
  local named = 0
  for i = 1, math.min(#names, PLACES_LOOKED_AT) do
    local is_read, found = pcall(reasons_of, names[i])
    if is_read and #found > 0 and named < PLACES_NAMED then
      add(list, found)
      named = named + 1
    end
  end
end

function waits.of_waiting(q, is_any_ready)
  local found = {}
  of_some(found, counters.are_budgets(q) and budgets.list_deferred(q, PLACES_LOOKED_AT) or {}, function(what)
    local budget = budgets.with_deferred_jobs(q, what)
    return budget and { of_budget(budget) } or {}
  end)
  if not is_any_ready then return each_once(found) end
  of_some(found, redis.call('SSCAN', q.prefix .. 'groups', '0', 'COUNT', PLACES_LOOKED_AT)[2], function(group)
    local is_waiting = redis.call('EXISTS', lanes.list_key(q, 0, group), lanes.list_key(q, 1, group),
      lanes.list_key(q, 2, group),
      lanes.list_key(q, 3, group)) > 0
    return is_waiting and of_group(q, group) or {}
  end)
  of_some(found, redis.call('ZREVRANGE', q.prefix .. 'batches', 0, PLACES_LOOKED_AT - 1), function(batch)
    return tonumber(redis.call('HGET', batches.key(q, batch), 'count:ready') or 0) > 0 and hold_of_batch(q, batch) or {}
  end)
  of_some(found, redis.call('ZRANGE', q.prefix .. 'held_keys', 0, PLACES_NAMED - 1), function(key)
    return add({}, key_limits.waits_at(q, key), budget_without_room(q, 'key:' .. key))
  end)
  of_some(found, redis.call('ZRANGE', q.prefix .. 'held_budgets', 0, PLACES_NAMED - 1), function(what)
    return budget_without_room(q, what)
  end)
  return each_once(found)
end

-- A job's reasons: `job` has id, state, batch, priority, group, keys, canary, run_at, on_unconfirmed,
-- max_steps, run_status, started, begun and is_deferred (deferred for a budget: its time is not its user's).
function waits.of_job(q, job)
  if job.state == 'unconfirmed' then
    return { { 'search', job.on_unconfirmed or 'auto', redis.call('ZSCORE', q.prefix .. 'reconcile', job.id) or '' } }
  end
  if job.state == 'running' then
    local seen = long_queued.seen_at(q, job.id, job.run_status, job.started, job.begun)
    return seen and { { 'queued', '', '', job.started, seen } } or {}
  end
  if job.state ~= 'ready' and job.state ~= 'scheduled' then return {} end
  if job.batch ~= NO_BATCH and lanes.batch_canceled(q, job.batch) then return {} end
  local found, group = lasting(q, job), of_group(q, job.group)
  if job.state == 'ready' then
    if job.keys then
      add(found, of_keys(q, job))
      add(found, of_line(q, job, found))
    end
    return add(found, group, limits_of_account(q))
  end
  if group[1] and group[1][1] == 'group_paused' then add(found, { group[1] }) end
  if not job.is_deferred and job.run_at then add(found, { { 'scheduled', '', job.run_at } }) end
  return found
end

return waits
