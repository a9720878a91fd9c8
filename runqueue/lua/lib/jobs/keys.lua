-- use: counters lanes
-- Keys name what jobs use together: a site, a login, a browser session. A limit on a key says how many jobs and orphan
-- runs may have it at a time, and how many jobs may begin in a time.
-- Whatever has a slot is in the set of each of its keys (`key:<key>`). A job whose turn comes while one of its keys has
-- no room leaves its lane and waits at that key (`key_waits:<key>`), ready as before, in the order of priorities and
-- then of its number (`held_jobs`), which it keeps until it is claimed. Once there is room, the first one goes back to
-- the head of its lane (`key_offers:<key>`). No job without a number is claimed before one that has one and waits for,
-- or was offered, the same key.
-- A job with several limited keys may find another key without room whenever its turn comes at one. While it waits
-- elsewhere, it is in `key_rivals:<key>` of the others, and the jobs that begin there after it are counted for the first
-- of these. From five times the key's limit on, one place is kept for that job. Places are kept by number, so no two
-- jobs keep each other waiting.
-- `key_limits` = '<at a time; -> <us between two begins; ->' by key, or by '<first segment>:*' for each such key.
local at_keys = {}
do
  local KEY_LIMITS, HELD, HELD_KEYS = PREFIX .. 'key_limits', PREFIX .. 'held_jobs', PREFIX .. 'held_keys'
  local AT_ONCE = { session = true, profile = true } -- Skyvern fails a second run of these: one at a time
  local NUMBERS = 2 ^ 50
  local PASSED_BEFORE_KEPT = 5
  local MOST_KEYS, LOOK_AGAIN, LOOK_TAKES = 16, 1000000, 10000

  local is_any_held, are_any_limits
  local looks_left = 100 -- of this script, at jobs that wait

  local function any_held()
    if is_any_held == nil then is_any_held = redis.call('EXISTS', HELD) == 1 end
    return is_any_held
  end

  -- How many may have a key at a time, and the time between two that begin; nil = no limit.
  local function limit_of(key)
    if are_any_limits == nil then are_any_limits = redis.call('EXISTS', KEY_LIMITS) == 1 end
    local segment = string.match(key, '^[^:]*')
    local f = are_any_limits and redis.call('HMGET', KEY_LIMITS, key, segment .. ':*') or {}
    local most, interval = string.match(f[1] or f[2] or '', '^(%S+) (%S+)$')
    if not most then return AT_ONCE[segment] and 1 or nil, nil end
    return tonumber(most), tonumber(interval)
  end

  -- A member of a zset that comes first, and where; nothing = math.huge.
  local function first_of(zset)
    local first = redis.call('ZRANGE', zset, 0, 0, 'WITHSCORES')
    return first[1], tonumber(first[2] or math.huge)
  end

  -- A rate lets what begins in two seconds begin at once: keys are looked at about once a second.
  local function burst_of(state) return math.max(1, math.floor(2000000 / state.interval)) end

  -- A key with a limit, as this script knows it; false = it has none.
  local function state_of(key)
    local state = keyed.states[key]
    if state ~= nil then return state end
    local most, interval = limit_of(key)
    if not most and not interval then
      keyed.states[key] = false
      return false
    end
    state = { most = most or math.huge, interval = interval, live = redis.call('SCARD', PREFIX .. 'key:' .. key),
      first = math.huge, rival_at = math.huge, passed = 0 }
    for _, has in pairs(keyed.moves[key] or {}) do state.live = state.live + (has and 1 or -1) end
    if interval then
      local next_at = tonumber(redis.call('GET', PREFIX .. 'key_next:' .. key) or 0)
      state.next_at = math.min(math.max(NOW, next_at), NOW + burst_of(state) * interval) -- a clock may be set back
    end
    if any_held() then
      local _, waits = first_of(PREFIX .. 'key_waits:' .. key)
      local _, offered = first_of(PREFIX .. 'key_offers:' .. key)
      state.first = math.min(waits, offered)
      state.rival, state.rival_at = first_of(PREFIX .. 'key_rivals:' .. key)
      local id, n = string.match(state.rival and redis.call('GET', PREFIX .. 'key_passed:' .. key) or '', '^(%S+) (%d+)$')
      if id == state.rival then state.passed = tonumber(n or 0) end
    end
    keyed.states[key] = state
    return state
  end

  -- How many more may begin, of what is at a number.
  local function room_of(state, id, at)
    local room = state.most - state.live
    if state.interval then
      room = math.min(room, math.floor((NOW + burst_of(state) * state.interval - state.next_at) / state.interval))
    end
    local enough = PASSED_BEFORE_KEPT * (state.most == math.huge and 1 or state.most)
    if state.rival and state.rival ~= id and state.rival_at < at and state.passed >= enough then room = room - 1 end
    return room
  end

  -- Where a held job comes in the lines of keys; nil = it is not held. The second value: where it comes in any case. A
  -- job that is not held comes after those of its priority; one that was submitted before comes first, as in its lane.
  local function place_of(job)
    local at = any_held() and tonumber(redis.call('ZSCORE', HELD, job.id) or nil) or nil
    local priority = tonumber(job.priority)
    return at, at or ((job.attempt or 0) > 0 and priority * NUMBERS) or (priority + 1) * NUMBERS - 1
  end

  -- The first key of a ready job that has no room for it; nil = it may begin.
  function at_keys.full(job)
    local at, comes_at = place_of(job)
    for key in string.gmatch(job.keys, '%S+') do
      local state = state_of(key)
      if state and (room_of(state, job.id, comes_at) < 1 or (not at and state.first < comes_at)) then return key end
    end
    return nil
  end

  local function count_passed(state, key)
    state.passed = state.passed + 1
    redis.call('SET', PREFIX .. 'key_passed:' .. key, state.rival .. ' ' .. int(state.passed), 'PX', int(DAY / 1000))
  end

  -- A ready job begins; its slot is counted already.
  function at_keys.begin(job)
    local at, comes_at = place_of(job)
    for key in string.gmatch(job.keys, '%S+') do
      local state = keyed.states[key]
      if state and state.interval then
        state.next_at = state.next_at + state.interval
        redis.call('SET', PREFIX .. 'key_next:' .. key, int(state.next_at), 'PX',
          int(math.ceil((state.next_at - NOW + state.interval) / 1000)))
      end
      if state and state.rival ~= job.id and state.rival_at < comes_at then count_passed(state, key) end
      if at then keyed.states[key] = nil end -- another one may be the first now
    end
    if at then at_keys.leave(job.id, job.keys) end
    keyed.left[job.id] = nil
  end

  -- A ready job waits at a key that has no room for it.
  function at_keys.wait(job, key)
    expect(PREFIX .. 'key_waits:' .. key, 'zset')
    local was_held, at = place_of(job)
    if not was_held then
      if at % NUMBERS > 0 then at = at - at % NUMBERS + redis.call('HINCRBY', META, 'held_number', 1) end
      redis.call('ZADD', HELD, int(at), job.id)
      is_any_held = true
    end
    redis.call('HSET', job_key(job.id), 'waits_for', key)
    redis.call('ZADD', PREFIX .. 'key_waits:' .. key, int(at), job.id)
    redis.call('ZADD', HELD_KEYS, 'NX', int(NOW + LOOK_AGAIN), key)
    for other in string.gmatch(job.keys, '%S+') do
      local changed = was_held and redis.call('ZREM', PREFIX .. 'key_offers:' .. other, job.id) == 1
      if other == key then
        if was_held then changed = redis.call('ZREM', PREFIX .. 'key_rivals:' .. other, job.id) == 1 or changed end
        if keyed.states[other] then keyed.states[other].first = math.min(keyed.states[other].first, at) end
      elseif state_of(other) then
        redis.call('ZADD', PREFIX .. 'key_rivals:' .. other, int(at), job.id)
        changed = true
      end
      if changed then keyed.states[other] = nil end
    end
  end

  -- A job is not held any more: it was claimed, or waits no longer.
  function at_keys.leave(id, keys)
    if redis.call('ZREM', HELD, id) == 0 then return end
    redis.call('HDEL', job_key(id), 'waits_for')
    for key in string.gmatch(keys, '%S+') do
      local waits = PREFIX .. 'key_waits:' .. key
      if redis.call('ZREM', waits, id) == 1 and redis.call('EXISTS', waits) == 0 then
        redis.call('ZREM', HELD_KEYS, key)
      end
      redis.call('ZREM', PREFIX .. 'key_offers:' .. key, id)
      redis.call('ZREM', PREFIX .. 'key_rivals:' .. key, id)
      keyed.states[key] = nil
    end
  end

  -- Moves a job that waits at a key on: to another key, or to `back`, which goes to the heads of lanes. Returns 1 if it
  -- was offered the key.
  local function move_on(key, id, at, back)
    local f = read_fields(job_key(id), 'state', 'priority', 'group', 'batch', 'canary', 'keys')
    local job = { id = id, priority = f[2] or '2', group = f[3] or 'default', batch = f[4] or NO_BATCH, canary = f[5],
      keys = f[6] or key }
    if f[1] ~= 'ready' then
      at_keys.leave(id, job.keys)
      return 0
    end
    local full = at_keys.full(job)
    if full and full ~= key then
      redis.call('ZREM', PREFIX .. 'key_waits:' .. key, id)
      at_keys.wait(job, full)
      return 0
    end
    local lane = lane_of(job)
    expect_lane(job.priority, job.group, lane)
    local may_go = lane_runs(lane) and redis.call('HEXISTS', group_key(job.group), 'paused') == 0
    redis.call('ZREM', PREFIX .. 'key_waits:' .. key, id)
    redis.call('ZADD', HELD, 'NX', int(at), id)
    for other in string.gmatch(job.keys, '%S+') do redis.call('ZREM', PREFIX .. 'key_rivals:' .. other, id) end
    if may_go then redis.call('ZADD', PREFIX .. 'key_offers:' .. key, int(at), id) end
    back[#back + 1] = { job = job, lane = lane }
    return may_go and 1 or 0
  end

  -- Offers a key to the first jobs that wait at it, to as many as it has room for.
  local function offer(key)
    keyed.states[key] = nil
    local waits, offered, back = PREFIX .. 'key_waits:' .. key, 0, {}
    while looks_left > 0 do
      local id, at = first_of(waits)
      if not id then break end
      local state = state_of(key)
      if state and room_of(state, id, at) - offered < 1 then break end
      looks_left = looks_left - 1
      local is_sound, n = try(move_on, key, id, at, back)
      if not is_sound then
        redis.call('ZREM', waits, id)
        set_aside('job ' .. id)
      end
      offered = offered + (n or 0)
    end
    for i = #back, 1, -1 do push(back[i].job.priority, back[i].job.group, back[i].lane, { back[i].job.id }, true) end
    local state = state_of(key)
    local look = NOW + math.max(LOOK_AGAIN, redis.call('ZCARD', HELD_KEYS) * LOOK_TAKES)
    if looks_left == 0 then
      look = NOW
    elseif state and state.interval then
      look = math.max(NOW, math.min(look, state.next_at - (burst_of(state) - 1) * state.interval))
    end
    if redis.call('EXISTS', waits) == 1 then
      redis.call('ZADD', HELD_KEYS, int(look), key)
    else
      redis.call('ZREM', HELD_KEYS, key)
    end
    keyed.states[key] = nil
    if offered > 0 then wake() end
  end

  -- Offers keys that are due to be looked at: a rate has room again, a limit was changed, or jobs that were offered one
  -- cannot be claimed now.
  function at_keys.offer_due()
    if not any_held() then return end
    local due = redis.call('ZRANGEBYSCORE', HELD_KEYS, '-inf', int(NOW), 'LIMIT', 0, MOST_KEYS)
    local walk = redis.call('HGET', META, 'keys_walk')
    if walk then
      local found = redis.call('ZSCAN', HELD_KEYS, walk, 'COUNT', MOST_KEYS)
      for i = 1, #found[2], 2 do due[#due + 1] = found[2][i] end
      if found[1] == '0' then
        redis.call('HDEL', META, 'keys_walk')
      else
        redis.call('HSET', META, 'keys_walk', found[1])
      end
    end
    for _, key in ipairs(due) do
      if not try(offer, key) then redis.call('ZADD', HELD_KEYS, int(NOW + 30 * LOOK_AGAIN), key) end
    end
  end

  -- When a key is to be looked at next; 0 = no job waits at one.
  function at_keys.next_look()
    if not any_held() then return 0 end
    local key, at = first_of(HELD_KEYS)
    return key and at or 0
  end

  -- Writes what took keys, and what freed them; a key that was freed is offered.
  function at_keys.save()
    for id, keys in pairs(keyed.left) do
      if any_held() then try(at_keys.leave, id, keys) end
    end
    local moves, freed_keys = keyed.moves, {}
    keyed.moves, keyed.states = {}, {}
    for key, members in pairs(moves) do
      local came, went = {}, {}
      for member, has in pairs(members) do table.insert(has and came or went, member) end
      try(in_parts, 'SADD', PREFIX .. 'key:' .. key, came)
      try(in_parts, 'SREM', PREFIX .. 'key:' .. key, went)
      if #went > 0 then freed_keys[#freed_keys + 1] = key end
    end
    if #freed_keys == 0 or not any_held() then return end
    for _, key in ipairs(freed_keys) do
      if redis.call('ZSCORE', HELD_KEYS, key) then try(offer, key) end
    end
  end
end
