-- use: counters lanes limits keys budgets batches strays paused_groups
-- Why jobs are not submitted now: the one place that finds the reasons, of a job, a batch and the account. A reason is
-- { kind, name, until_us ('' = not known), what else there is to say of it … }; records/waits.py has the words:
--   account_paused  '', '', why and by whom          no_worker       '', ''
--   account_held    kind of the hold, until, why     slots           '', '', limit
--   rate            '', next one, submissions a s    batch           batch, '', open | paused | canary | aborted | expired
--   group_paused    group ('?' = too many to check)  group_full      group, '', cap
--   key_full        key, '', limit                   key_occupied    key, until
--   key_rate        key, next one, us between two    key_line        key, ''
--   budget          what it is for, end of its window, scope, steps, per, spent, committed, why it can
--                   never fit ('' | no max_steps | too large), steps that a strict one must have left ('' = any)
--   scheduled       '', begin                        search          on_unconfirmed, next search
-- Nothing is written. Of many jobs in one call the first KEYS_LOOKED_AT keys are looked at, with their budgets, and as many
-- places in line. Of a batch the first job of each of some lanes is looked at, so many lanes in one call.
local waits = {}
do -- a scope, since a script has at most 200 local names
  local KEYS_LOOKED_AT = 500
  local LANES_OF_A_BATCH, lanes_left = 4, 100
  local looked_at, keys_left, places_left = {}, KEYS_LOOKED_AT, KEYS_LOOKED_AT
  local known = {} -- the reasons of the account, of groups, batches and keys, each read once a script

  local function time_or_none(us) return us and int(us) or '' end

  local function once(name, find, ...)
    if not known[name] then known[name] = find(...) end
    return known[name]
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
    return { 'budget', budget.what, time_or_none(budget.ends), budget.scope, int(budget.steps), budget.per,
      int(budget.spent), string.format('%.0f', budget.committed), budget.never, budget.need }
  end

  local function budget_without_room(what)
    return once('budget ' .. what, function()
      local found = notes.are_budgets() and budgets.without_room_of(what)
      return found and { of_budget(found) } or {}
    end)
  end

  -- What keeps all jobs of the account from being submitted until something is done or a time comes.
  local function stops()
    return once('account', function()
      local found = {}
      local f = redis.call('HMGET', META, 'paused', 'hold_until', 'hold_kind', 'hold_reason')
      if f[1] then found[1] = { 'account_paused', '', '', f[1] } end
      if tonumber(f[2] or 0) > NOW then
        found[#found + 1] = { 'account_held', f[3] or 'person', f[2], f[4] or '' }
      end
      if redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '+inf') == 0 then
        found[#found + 1] = { 'no_worker', '', '' }
      end
      return found
    end)
  end

  function waits.of_account() return add({}, stops(), budget_without_room('account')) end

  -- What the next submission of the account waits for.
  local function limits_of_account()
    return once('limits', function()
      local found, limited = {}, read_limits()
      if limited.concurrent_runs > 0 and slots_taken() >= limited.concurrent_runs then
        found[1] = { 'slots', '', '', int(limited.concurrent_runs) }
      end
      for _, each in ipairs({ { 'dispatch', limited.dispatch }, { 'request', limited.requests_per_second } }) do
        local rate = each[2]
        local owed = rate > 0 and owed_until(each[1], interval_of(rate), limited.burst)
        if owed and room_now(rate, limited.burst, owed) == 0 then
          found[#found + 1] = { 'rate', '', int(owed - (limited.burst - 1) * interval_of(rate)),
            string.format('%.6f', limited.dispatch) }
          break
        end
      end
      return found
    end)
  end

  local function of_group(group)
    return once('group ' .. group, function()
      local found = {}
      local f = redis.call('HMGET', group_key(group), 'paused', 'cap', 'live')
      if f[1] then found[1] = { 'group_paused', group, '' } end
      local cap = tonumber(f[2] or 0)
      if cap > 0 and tonumber(f[3] or 0) >= cap then found[#found + 1] = { 'group_full', group, '', f[2] } end
      return found
    end)
  end

  -- What holds a batch itself; a job of its canary is not held by the canary.
  local function hold_of_batch(batch)
    return once('batch ' .. batch, function()
      local f = redis.call('HMGET', batch_key(batch), 'sealed', 'held')
      local how = f[2] or (f[1] ~= '1' and 'open')
      return how and how ~= 'canceled' and { { 'batch', batch, '', how } } or {}
    end)
  end

  local function may_look(key)
    if not looked_at[key] and keys_left > 0 then
      looked_at[key], keys_left = true, keys_left - 1
    end
    return looked_at[key]
  end

  local function of_keys(job)
    local found = {}
    local may_be_limited = notes.are_limits() or string.find(job.keys, 'session:', 1, true)
      or string.find(job.keys, 'profile:', 1, true)
    if not may_be_limited then return found end
    for key in notes.keys_of(job) do
      if may_look(key) then add(found, once('key ' .. key, key_limits.waits_at, key)) end
    end
    return found
  end

  -- A job of a lane that waits at a key which has room: others come first, or the key is looked at in a moment.
  local function of_line(job, found)
    for _, reason in ipairs(found) do
      if string.sub(reason[2], 1, 4) == 'key:' or string.sub(reason[1], 1, 4) == 'key_' then return {} end
    end
    if once('lines', redis.call, 'EXISTS', PREFIX .. 'held_keys') == 0 then return {} end
    local lane = keyed_lane_of(job)
    local name = 'lane ' .. job.priority .. ':' .. job.group .. ':' .. lane
    if not known[name] then
      if places_left <= 0 then return {} end
      places_left = places_left - keys_in(lane)
    end
    return once(name, function()
      local at = waits_at(job.priority, job.group, lane)
      return at and { { 'key_line', at, '' } } or {}
    end)
  end

  local function of_budgets(job)
    local found = {}
    for _, budget in ipairs(notes.are_budgets() and budgets.without_room(job, may_look) or {}) do
      found[#found + 1] = of_budget(budget)
    end
    return found
  end

  -- What lasts: a job that is scheduled meets it, too.
  local function lasting(job)
    local found = add({}, stops(), of_budgets(job))
    if job.batch ~= NO_BATCH then
      local held = hold_of_batch(job.batch)
      if not (job.canary and held[1] and held[1][4] == 'canary') then add(found, held) end
    end
    return found
  end

  local function is_ready_in(lane, batch)
    local id = redis.call('LINDEX', lane, 0)
    local f = redis.call('HMGET', job_key(id or ''), 'state', 'batch', 'keys', 'max_steps')
    if f[1] ~= 'ready' or f[2] ~= batch then return nil end
    return { id = id, batch = batch, keys = f[3] or nil, max_steps = tonumber(f[4] or nil) or false }
  end

  -- What the first job of a place of a batch's lanes waits for: budgets and rates of keys. Where none is ready there, but
  -- jobs were put aside for a budget of the group: that budget. nil = none is known to wait there.
  local function of_place(batch, place)
    local priority, group, keys = string.match(place, '^(%d):([^|]*)(.*)$')
    local job = is_ready_in(lane_key(priority, group, batch .. keys), batch)
      or is_ready_in(lane_key(priority, group, batch .. CANARY .. keys), batch)
    if not job then
      local budget = notes.are_budgets() and budgets.with_jobs_aside('group:' .. group)
      return budget and { of_budget(budget) }
    end
    job.group = group
    local found = of_budgets(job)
    for _, reason in ipairs(job.keys and of_keys(job) or {}) do
      if reason[1] == 'key_rate' then found[#found + 1] = reason end
    end
    return found
  end

  -- Budgets and rates of keys that some lanes of a batch wait for, all that were looked at; {} = one may go on.
  local function of_lanes(batch)
    local found = {}
    if not (notes.are_limits() or notes.are_budgets()) then return found end
    local places = redis.call('SSCAN', PREFIX .. 'batch_lanes:' .. batch, '0', 'COUNT', LANES_OF_A_BATCH)[2]
    for i = 1, math.min(#places, LANES_OF_A_BATCH, lanes_left) do
      lanes_left = lanes_left - 1
      local reasons = of_place(batch, places[i])
      if reasons and #reasons == 0 then return {} end
      add(found, reasons or {})
    end
    return found
  end

  function waits.of_batch(batch)
    local found = add({}, waits.of_account(), hold_of_batch(batch), budget_without_room('batch:' .. batch))
    local group = paused_group_of(batch)
    if group ~= '' then found[#found + 1] = { 'group_paused', group, '' } end
    local is_read, more = pcall(of_lanes, batch)
    return each_once(add(found, is_read and more or {}))
  end

  -- What jobs of the account wait for where none is in line: ready ones, for some of their groups, batches, keys and
  -- budgets; those that were put aside, for some budgets.
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

  function waits.of_waiting(is_any_ready)
    local found = {}
    of_some(found, notes.are_budgets() and budgets.list_asides(PLACES_LOOKED_AT) or {}, function(what)
      local budget = budgets.with_jobs_aside(what)
      return budget and { of_budget(budget) } or {}
    end)
    if not is_any_ready then return each_once(found) end
    of_some(found, redis.call('SSCAN', PREFIX .. 'groups', '0', 'COUNT', PLACES_LOOKED_AT)[2], function(group)
      local is_waiting = redis.call('EXISTS', lanes_key(0, group), lanes_key(1, group), lanes_key(2, group),
        lanes_key(3, group)) > 0
      return is_waiting and of_group(group) or {}
    end)
    of_some(found, redis.call('ZREVRANGE', PREFIX .. 'batches', 0, PLACES_LOOKED_AT - 1), function(batch)
      return tonumber(redis.call('HGET', batch_key(batch), 'count:ready') or 0) > 0 and hold_of_batch(batch) or {}
    end)
    of_some(found, redis.call('ZRANGE', PREFIX .. 'held_keys', 0, PLACES_NAMED - 1), function(key)
      return add({}, key_limits.waits_at(key), budget_without_room('key:' .. key))
    end)
    of_some(found, redis.call('ZRANGE', PREFIX .. 'held_budgets', 0, PLACES_NAMED - 1), budget_without_room)
    return each_once(found)
  end

  -- A job's reasons: `job` has id, state, batch, priority, group, keys, canary, run_at, on_unconfirmed,
  -- max_steps and is_aside (put aside for a budget: its time is not its user's).
  function waits.of_job(job)
    if job.state == 'unconfirmed' then
      return { { 'search', job.on_unconfirmed or 'auto', redis.call('ZSCORE', PREFIX .. 'reconcile', job.id) or '' } }
    end
    if job.state ~= 'ready' and job.state ~= 'scheduled' then return {} end
    if job.batch ~= NO_BATCH and batch_canceled(job.batch) then return {} end
    local found, group = lasting(job), of_group(job.group)
    if job.state == 'ready' then
      if job.keys then
        add(found, of_keys(job))
        add(found, of_line(job, found))
      end
      return add(found, group, limits_of_account())
    end
    if group[1] and group[1][1] == 'group_paused' then add(found, { group[1] }) end
    if not job.is_aside and job.run_at then add(found, { { 'scheduled', '', job.run_at } }) end
    return found
  end
end
