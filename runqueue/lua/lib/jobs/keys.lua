-- use: counters lanes budgets
-- Keys name what jobs use together: a site, a login, a browser session. A limit on a key says how many jobs and orphan
-- runs may have it at a time, and how many jobs may begin in a time.
-- Whatever has a slot is in the set of each of its keys (`key:<key>`). A job whose turn comes while one of its keys has
-- no room, or while others wait for one, moves to the lane of the jobs with just these keys, of its priority, group and
-- batch: '<batch>|<key>|<key>'. Such a lane waits at one key (`key_waits:<key>`), in the order of priorities and of the
-- ages of first jobs. Once there is room, the first lane is offered the key (`key_offers:<key>`): it is listed, and a
-- claim takes as many of its jobs as all its keys have room for. Then it waits again, or is empty.
-- A lane with several limited keys may find another key without room at each offer. While it waits elsewhere, it is in
-- `key_rivals:<key>` of the others, and the jobs that begin there although they came later are counted for the first of
-- these. From five times the key's limit on, one place is kept for it, as long as it waits for others to end and not for a
-- rate, a pause or a budget. Places are kept by age, so no two lanes keep each other waiting.
-- A rate is spent by a claim, and given back if the claim surely made no run: its job has `rates` = '<attempt> <key> <when
-- the next job might begin before> <and after the claim> …'.
-- A browser session that Skyvern says is occupied has no room until `key_pause:<key>` (<until_us> <pauses so far>).
-- `key_limits` = '<at a time; -> <us between two begins; ->' by key, or by '<first segment>:*' for each such key.
local key_limits = {}
local AT_ONCE = { session = true, profile = true } -- Skyvern fails a second run of these: one at a time

-- The first key of a ready job that has no room for it, or for which others wait; nil = it may begin.
local function full_key(job)
  if not job.keys then return nil end
  local may_be_limited = notes.are_limits()
  if not may_be_limited then
    for segment in pairs(AT_ONCE) do
      may_be_limited = may_be_limited or string.find(job.keys, segment .. ':', 1, true)
    end
  end
  return may_be_limited and key_limits.full(job) or nil
end

-- Each function that a script makes costs it, and most scripts need none of these: the first use makes them.
local function make_key_limits()
  local KEY_LIMITS, HELD_KEYS = PREFIX .. 'key_limits', PREFIX .. 'held_keys'
  local PASSED_BEFORE_KEPT = 5
  local FIRST_PAUSE_US, LONGEST_PAUSE_US, TRIES_KEPT_MS = 30000000, 600000000, 60000
  local NEXT_KEPT_MS = 3600000
  local MOST_KEYS, LOOK_AGAIN, LOOK_TAKES, FEW_LIMITS = 16, 1000000, 10000, 20

  local limits -- by key or pattern, if there are few; false = they are read key by key
  local parsed = {} -- { at a time, us between two begins } by a limit's text
  local looks_left = 50 -- of this script, at lanes that wait and at their keys

  local function call(...)
    notes.key_commands = notes.key_commands + 1
    return redis.call(...)
  end

  local function any_held()
    if notes.any_held == nil then notes.any_held = notes.are_limits() and call('EXISTS', HELD_KEYS) == 1 end
    return notes.any_held
  end

  local function keys_of(lane) return string.gmatch(lane, '|([^|]+)') end

  local FOR_A_LANE = 4 -- commands that this part has others run for a lane: its job's record, its place in line
  local function lane_named(priority, group, name)
    notes.key_commands = notes.key_commands + FOR_A_LANE
    return { priority = priority, group = group, lane = name, name = priority .. ':' .. group .. ':' .. name,
      list = lane_key(priority, group, name) }
  end

  -- A limit's text; one that cannot be read lets one at a time.
  local function read_limit(text)
    local most, interval = string.match(text, '^(%S+) (%S+)$')
    local n, us = tonumber(most), tonumber(interval)
    local is_sound = (most == '-' or (n and n >= 1)) and (interval == '-' or (us and us >= 1))
    return is_sound and { n, us } or { 1 }
  end

  -- How many may have a key at a time, and the time between two that begin; nil = no limit.
  local function limit_of(key)
    if limits == nil then
      local are_few = not notes.are_limits() or call('HLEN', KEY_LIMITS) <= FEW_LIMITS
      limits = are_few and {}
      local all = are_few and notes.are_limits() and call('HGETALL', KEY_LIMITS) or {}
      for i = 1, #all, 2 do limits[all[i]] = all[i + 1] end
    end
    local segment = string.match(key, '^[^:]*')
    local own, of_segment
    if limits then
      own, of_segment = limits[key], limits[segment .. ':*']
    else
      own, of_segment = unpack(call('HMGET', KEY_LIMITS, key, segment .. ':*'))
    end
    local text = own or of_segment
    if not text then return AT_ONCE[segment] and 1 or nil, nil end
    parsed[text] = parsed[text] or read_limit(text)
    return parsed[text][1], parsed[text][2]
  end

  local function is_limited(key)
    local most, interval = limit_of(key)
    return most or interval or (budgets.are_any() and budgets.has_one(key))
  end

  -- The first member of a zset, and where it is; nothing = math.huge.
  local function first_of(zset)
    local first = call('ZRANGE', zset, 0, 0, 'WITHSCORES')
    return first[1], tonumber(first[2] or math.huge)
  end

  -- A rate lets what begins in two seconds begin at once: keys are looked at about once a second.
  local function burst_of(state) return math.max(1, math.floor(2000000 / state.interval)) end

  -- When the rate of a key lets the next job begin.
  local function next_begin(state) return state.next_at - (burst_of(state) - 1) * state.interval end

  -- How many later jobs may pass the first rival at a key before a place is kept for it.
  local function patience_at(most) return PASSED_BEFORE_KEPT * (most == math.huge and 1 or most) end

  -- The rival at a key, and how many passed it; nil = none did.
  local function passed_at(key)
    local name, n = string.match(call('GET', PREFIX .. 'key_passed:' .. key) or '', '^(%S+) (%d+)$')
    return name, tonumber(n or 0)
  end

  -- Whether others have all places of a key, or are about to: not a rate, a pause or a budget keeps jobs waiting at it.
  local function is_crowded(key)
    local most = limit_of(key)
    if not most then return false end
    local _, passed = passed_at(key)
    return notes.live_with(key) + (passed >= patience_at(most) and 1 or 0) >= most
      or call('EXISTS', PREFIX .. 'key_offers:' .. key) == 1
  end

  -- Whether a lane waits at a key for others to end. Only then are places kept for it elsewhere: it would keep them for
  -- as long as a rate, a pause or a budget lasts.
  local function waits_for_a_place(name)
    for key in keys_of(name) do
      if call('ZSCORE', PREFIX .. 'key_waits:' .. key, name) then return is_crowded(key) end
    end
    return false
  end

  -- A key with a limit, as this script knows it; false = it has none. Most have none of the fields that are set later.
  local function state_of(key)
    local state = notes.states[key]
    if state ~= nil then return state end
    local most, interval = limit_of(key)
    local has_budget = budgets.are_any() and budgets.has_one(key)
    if not most and not interval and not has_budget then
      notes.states[key] = false
      return false
    end
    state = { most = most or math.huge, live = notes.live_with(key) }
    if has_budget then state.has_budget = true end
    if string.sub(key, 1, 8) == 'session:' then
      local pause = call('GET', PREFIX .. 'key_pause:' .. key)
      state.paused_until = tonumber(string.match(pause or '', '^%d+') or 0)
    end
    if interval then
      state.interval = interval
      local next_at = tonumber(call('GET', PREFIX .. 'key_next:' .. key) or 0)
      local last = NOW + burst_of(state) * interval
      -- A later time is of a slower rate before, or of a clock that was set back: one may begin.
      state.next_at = next_at > last and last - interval or math.max(NOW, next_at)
    end
    local lines = any_held()
      and { PREFIX .. 'key_waits:' .. key, PREFIX .. 'key_offers:' .. key, PREFIX .. 'key_rivals:' .. key }
    if lines and call('EXISTS', unpack(lines)) > 0 then
      local _, waits = first_of(lines[1])
      local _, offered = first_of(lines[2])
      state.first = math.min(waits, offered)
      local rival, rival_at = first_of(lines[3])
      local name, passed = passed_at(key)
      if name ~= rival then passed = 0 end
      if rival and passed >= patience_at(state.most) and not waits_for_a_place(rival) then
        call('ZREM', PREFIX .. 'key_rivals:' .. key, rival)
      elseif rival then
        state.rival, state.rival_at, state.passed = rival, rival_at, passed
      end
    end
    notes.states[key] = state
    return state
  end

  -- How many more jobs may begin at a key. `name` = their lane of keys (nil: they are in none), `at` = when it came.
  local function room_of(key, state, name, at, max_steps)
    if state.paused_until and state.paused_until > NOW then return 0 end
    local room = state.most - state.live
    if state.has_budget then room = math.min(room, budgets.room_at(key, max_steps)) end
    if state.interval then
      room = math.min(room, math.floor((NOW + burst_of(state) * state.interval - state.next_at) / state.interval))
    end
    if state.rival and state.rival ~= name and state.rival_at < at and state.passed >= patience_at(state.most) then
      room = room - 1
    end
    return room
  end

  -- How many jobs of a lane all its keys have room for, and the first key that has none.
  local function room_in(lane, at)
    local room = math.huge
    for key in keys_of(lane.lane) do
      local state = state_of(key)
      if state then room = math.min(room, room_of(key, state, lane.name, at, lane.max_steps)) end
      if room < 1 then return 0, key end
    end
    return room
  end

  -- Where a job comes that is in no lane of keys: after those of its priority; one that was submitted before comes
  -- first, as in its lane. One with `goes_first` (claim.lua) comes before all others.
  local function comes_at(job)
    if job.goes_first then return 0 end
    local priority = tonumber(job.priority)
    return (job.attempt or 0) > 0 and priority * A_PRIORITY or (priority + 1) * A_PRIORITY - 1
  end

  local function wait_at(lane, at, key)
    local is_rival = is_crowded(key)
    for other in keys_of(lane.lane) do
      if other == key then
        call('ZADD', PREFIX .. 'key_waits:' .. other, int(at), lane.name)
        -- A key whose rate has no room is looked at as soon as it has, however many keys jobs wait for.
        local state = state_of(other)
        local due = state and state.interval and next_begin(state) or 0
        if due > NOW then
          call('ZADD', HELD_KEYS, 'LT', int(due), other)
        else
          call('ZADD', HELD_KEYS, 'NX', int(NOW + LOOK_AGAIN), other)
        end
      elseif is_rival and state_of(other) then
        call('ZADD', PREFIX .. 'key_rivals:' .. other, int(at), lane.name)
      end
      notes.states[other] = nil
    end
    notes.any_held = true
  end

  local function is_offered(lane, at)
    for key in keys_of(lane.lane) do
      if is_limited(key) then
        call('ZADD', PREFIX .. 'key_offers:' .. key, int(at), lane.name)
        call('ZADD', HELD_KEYS, 'NX', int(NOW + LOOK_AGAIN), key)
      end
      notes.states[key] = nil
    end
    notes.any_held = true
  end

  -- A lane is in no line of its keys any more. Most have few of these lines; with one key, it is nobody's rival.
  local function forget(lane)
    local keys = {}
    for key in keys_of(lane.lane) do
      keys[#keys + 1] = key
      notes.states[key] = nil
    end
    for _, line in ipairs({ 'key_waits:', 'key_offers:', #keys > 1 and 'key_rivals:' or nil }) do
      local zsets = {}
      for i, key in ipairs(keys) do zsets[i] = PREFIX .. line .. key end
      if #keys == 1 or call('EXISTS', unpack(zsets)) > 0 then
        for _, zset in ipairs(zsets) do call('ZREM', zset, lane.name) end
      end
    end
  end

  local function tidy(key)
    if call('EXISTS', PREFIX .. 'key_waits:' .. key, PREFIX .. 'key_offers:' .. key) == 0 then
      call('ZREM', HELD_KEYS, key)
    end
  end

  -- See `full_key`.
  function key_limits.full(job)
    for key in notes.keys_of(job) do
      local state = state_of(key)
      if state then
        local at = notes.turn and notes.turn.at or comes_at(job)
        local max_steps = state.has_budget and budgets.max_steps_of(job) or nil
        local room = room_of(key, state, notes.turn and notes.turn.name, at, max_steps)
        if room < 1 or (not notes.turn and state.first and state.first < at) then return key end
        if state.interval or state.rival then job.counts_at_keys = true end
      end
    end
    return nil
  end

  -- Skyvern says that a job's browser session is occupied although none of ours uses it: no job gets the session for half
  -- a minute, doubling to ten if that was not enough.
  function key_limits.pause_session(job)
    local key = string.match(' ' .. (job.keys or ''), ' (session:%S+)')
    if not key then return end
    local pause = PREFIX .. 'key_pause:' .. key
    local until_us, tries = string.match(call('GET', pause) or '', '^(%d+) (%d+)$')
    if until_us and tonumber(until_us) > NOW then return end
    tries = tonumber(tries or 0)
    local wait = math.min(FIRST_PAUSE_US * 2 ^ tries, LONGEST_PAUSE_US)
    call('SET', pause, int(NOW + wait) .. ' ' .. int(tries + 1), 'PX', int(wait / 1000) + TRIES_KEPT_MS)
    notes.states[key] = nil
  end

  -- The key is kept an hour longer than it says anything: Redis' own clock may be ahead of ours.
  local function set_next(key, at)
    call('SET', PREFIX .. 'key_next:' .. key, int(at), 'PX', int(math.ceil(math.max(0, at - NOW) / 1000)) + NEXT_KEPT_MS)
  end

  -- A ready job with keys begins, for which all have room (`full`); its slot is counted already.
  function key_limits.begin(job)
    if not job.counts_at_keys then return end
    local at = notes.turn and notes.turn.at or comes_at(job)
    local rates = {}
    for key in notes.keys_of(job) do
      local state = notes.states[key]
      if state and state.interval then
        local before = state.next_at
        state.next_at = before + state.interval
        set_next(key, state.next_at)
        rates[#rates + 1] = table.concat({ key, int(before), int(state.next_at) }, ' ')
      end
      if state and state.rival and state.rival_at < at and state.rival ~= (notes.turn and notes.turn.name) then
        state.passed = state.passed + 1
        call('SET', PREFIX .. 'key_passed:' .. key, state.rival .. ' ' .. int(state.passed), 'PX', int(DAY / 1000))
      end
    end
    if #rates > 0 then
      call('HSET', job_key(job.id), 'rates', int(job.attempt + 1) .. ' ' .. table.concat(rates, ' '))
    end
  end

  -- A job's claim surely made no run: the next job may begin when it might have before the claim. Where another began at
  -- the key since, nothing is given back: of jobs that began at once (`burst_of`) only the last claim is. That a rival was
  -- passed stays counted.
  function key_limits.give_back_rate(job)
    if not job.keys then return end
    local attempt, rates = string.match(call('HGET', job_key(job.id), 'rates') or '', '^(%d+) (.*)$')
    if tonumber(attempt) ~= job.attempt then return end
    call('HDEL', job_key(job.id), 'rates')
    for key, before, after in string.gmatch(rates, '(%S+) (%d+) (%d+)') do
      if call('GET', PREFIX .. 'key_next:' .. key) == after then
        set_next(key, tonumber(before))
        call('ZADD', HELD_KEYS, 'XX', now_text(), key)
        notes.states[key] = nil
      end
    end
  end

  -- A ready job moves to the lane of its keys, which waits at `key`, or is in line already.
  function key_limits.wait(job, key)
    local lane = lane_named(job.priority, job.group, keyed_lane_of(job))
    local comes_first = job.goes_first or (job.attempt or 0) > 0
    expect(lane.list, 'list')
    local length = call(comes_first and 'LPUSH' or 'RPUSH', lane.list, job.id)
    if length > 1 and not comes_first then return end
    if job.batch ~= NO_BATCH then
      call('SADD', PREFIX .. 'batch_lanes:' .. job.batch, place_in_batch(job.priority, job.group, lane.lane))
    end
    local at = place_in_line(lane)
    if length == 1 then return wait_at(lane, at, key) end
    for other in keys_of(lane.lane) do
      for _, line in ipairs({ 'key_waits:', 'key_rivals:' }) do
        call('ZADD', PREFIX .. line .. other, 'XX', int(at), lane.name)
      end
      notes.states[other] = nil
    end
  end

  -- A claim's turn of a lane begins: returns how many jobs its keys have room for.
  function key_limits.enter(priority, group, name)
    local lane = lane_named(priority, group, name)
    expect(lane.list, 'list')
    forget(lane)
    lane.at = place_in_line(lane)
    if not lane.at then return 0 end
    notes.turn = lane
    return (room_in(lane, lane.at))
  end

  -- The turn ends. Whether the lane is to be listed again: it is not empty, and its keys have room for more.
  function key_limits.leave(priority, group, name)
    local lane = lane_named(priority, group, name)
    local at = place_in_line(lane)
    notes.turn = nil
    if not at then
      for key in keys_of(name) do tidy(key) end
      return false
    end
    local _, full = room_in(lane, at)
    if full then wait_at(lane, at, full) else is_offered(lane, at) end
    return not full
  end

  -- Moves a lane that waits at a key on: to another key, or to the lanes that claims take from. Returns how many jobs
  -- were offered the key; nil = it has no room for the first of them.
  local function move_on(key, name, at)
    local lane = lane_named(string.match(name, '^(%d):([^:]*):(.*)$'))
    expect(lane.list, 'list')
    expect(lanes_key(lane.priority, lane.group), 'list')
    local length = call('LLEN', lane.list)
    local held = call('HMGET', group_key(lane.group), 'paused', 'capped')
    local is_paused = held[1] or held[2]
    local may_go = length > 0 and lane_runs(lane.lane)
    if may_go and not is_paused then at = place_in_line(lane) end
    local full = may_go and not is_paused and select(2, room_in(lane, at))
    forget(lane)
    if full then
      wait_at(lane, at, full)
      return full ~= key and 0 or nil
    end
    if not may_go then return 0 end -- it is empty, or listed once its batch runs again
    list_lane(lane.priority, lane.group, lane.lane, true)
    if is_paused then return 0 end
    is_offered(lane, at)
    return length
  end

  -- Offers a key to the first lanes that wait at it, to as many jobs as it has room for.
  local function offer(key)
    notes.states[key] = nil
    local waits, offered = PREFIX .. 'key_waits:' .. key, 0
    while looks_left > 0 do
      local name, at = first_of(waits)
      if not name then break end
      local state = state_of(key)
      if state and room_of(key, state, name, at, 0) - offered < 1 then break end
      looks_left = looks_left - keys_in(name) - 1
      local is_sound, n = try(move_on, key, name, at)
      if is_sound and not n then break end
      if not is_sound then
        call('ZREM', waits, name)
        local priority, group, lane = string.match(name, '^(%d):([^:]*):(.*)$')
        set_aside('lane ' .. batch_of(lane) .. ' ' .. place_in_batch(priority, group, lane))
      end
      offered = offered + (n or 0)
    end
    local look = NOW + math.max(LOOK_AGAIN, call('ZCARD', HELD_KEYS) * LOOK_TAKES)
    if looks_left <= 0 then
      look = NOW
    elseif select(2, limit_of(key)) then
      local due = next_begin(state_of(key))
      if due > NOW then look = math.min(look, due) end -- else jobs wait there for something else
    end
    call('ZADD', HELD_KEYS, int(look), key)
    tidy(key)
    notes.states[key] = nil
    if offered > 0 then wake() end
  end

  -- Offers keys that are due to be looked at: a rate has room again, a limit was changed, or jobs that were offered one
  -- cannot be claimed now.
  function key_limits.offer_due()
    if not any_held() then return end
    local due = call('ZRANGEBYSCORE', HELD_KEYS, '-inf', int(NOW), 'LIMIT', 0, MOST_KEYS)
    local walk = call('HGET', META, 'keys_walk')
    if walk then
      local found = call('ZSCAN', HELD_KEYS, walk, 'COUNT', MOST_KEYS)
      for i = 1, #found[2], 2 do due[#due + 1] = found[2][i] end
      if found[1] == '0' then
        call('HDEL', META, 'keys_walk')
      else
        call('HSET', META, 'keys_walk', found[1])
      end
    end
    for _, key in ipairs(due) do
      if not try(offer, key) then call('ZADD', HELD_KEYS, int(NOW + 30 * LOOK_AGAIN), key) end
    end
  end

  -- When a key is to be looked at next; 0 = no job waits at one.
  function key_limits.next_check()
    if not any_held() then return 0 end
    local key, at = first_of(HELD_KEYS)
    return key and at or 0
  end

  -- Why a key has no room now, for waits.lua.
  function key_limits.waits_at(key)
    local found, most, interval = {}, limit_of(key)
    local pause = string.match(redis.call('GET', PREFIX .. 'key_pause:' .. key) or '', '^%d+')
    if pause and tonumber(pause) > NOW then found[1] = { 'key_occupied', key, pause } end
    if most and notes.live_with(key) >= most then found[#found + 1] = { 'key_full', key, '', int(most) } end
    if interval then
      local next_one = tonumber(redis.call('GET', PREFIX .. 'key_next:' .. key) or 0)
        - (burst_of({ interval = interval }) - 1) * interval
      if next_one > NOW and next_one <= NOW + interval then
        found[#found + 1] = { 'key_rate', key, int(next_one), int(interval) }
      end
    end
    return found
  end

  -- Writes what took keys, and what freed them; a key that was freed is offered.
  function key_limits.save()
    local moves, freed_keys = notes.moves, {}
    notes.moves, notes.states = {}, {}
    for key, members in pairs(moves) do
      local set, first = PREFIX .. 'key:' .. key, next(members)
      local is_freed
      if next(members, first) == nil then -- as for most keys: without tables
        is_freed = not members[first]
        try(call, is_freed and 'SREM' or 'SADD', set, first)
      else
        local came, went = {}, {}
        for member, has in pairs(members) do
          if has then came[#came + 1] = member else went[#went + 1] = member end
        end
        try(in_parts, 'SADD', set, came)
        try(in_parts, 'SREM', set, went)
        is_freed = #went > 0
      end
      if is_freed then freed_keys[#freed_keys + 1] = key end
    end
    if #freed_keys == 0 or not any_held() then return end
    local late = {} -- a claim offers these
    for i, held_at in ipairs(call('ZMSCORE', HELD_KEYS, unpack(freed_keys))) do
      if held_at and looks_left > 0 then
        try(offer, freed_keys[i])
      elseif held_at then
        late[#late + 1] = now_text()
        late[#late + 1] = freed_keys[i]
      end
    end
    if #late > 0 then call('ZADD', HELD_KEYS, 'XX', unpack(late)) end
    if looks_left <= 0 then wake() end
  end
end
setmetatable(key_limits, { __index = function(_, name)
  setmetatable(key_limits, nil)
  make_key_limits()
  return key_limits[name]
end })
