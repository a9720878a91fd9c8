-- use: counters lanes budgets
-- Keys name what jobs use together: a site, a login, a browser session. A limit on a key says how many jobs and orphan
-- runs may have it at a time, and how many jobs may begin in a time.
-- Whatever has a slot is in the set of each of its keys (`key:<key>`). A job whose turn comes while one of its keys has
-- no room, or while others wait for one, moves to the lane of the jobs with just these keys, of its priority, group and
-- batch: '<batch>|<key>|<key>'. Such a lane waits at one key (`key_waits:<key>`), in the order of priorities and of the
-- ages of first jobs. Once there is room, the first lane is offered the key (`key_offers:<key>`): it is listed, and a
-- claim takes as many of its jobs as all its keys have room for. Then it waits again, or is empty.
-- A lane with several limited keys may find another key without room at each offer. While it waits elsewhere, it is in
-- `key_elsewhere:<key>` of the others, and the jobs that begin there although they came later are counted for the first
-- of these. From five times the key's limit on, one place is kept for it, as long as it waits for others to end and not
-- for a rate, a pause or a budget. Places are kept by age, so no two lanes keep each other waiting.
-- A rate is spent by a claim, and given back if the claim surely made no run: its job has `rates` = '<attempt> <key> <when
-- the next job might begin before> <and after the claim> …'.
-- A browser session that Skyvern says is occupied has no room until `key_pause:<key>` (<until_us> <pauses so far>).
-- `key_limits` = '<at a time; -> <us between two begins; ->' by key, or by '<first segment>:*' for each such key.
local key_limits = {}
-- One at a time: Skyvern fails a second run of a session or profile; of two with one's codes each may take the other's.
local AT_ONCE = { session = true, profile = true, totp = true }

-- Whether keys may have a limit.
function key_limits.may_limit(q, keys)
  return counters.are_limits(q) or string.find(keys, 'session:', 1, true) or string.find(keys, 'profile:', 1, true)
    or string.find(keys, 'totp:', 1, true)
end

-- The first key of a ready job that has no room for it, or for which others wait; nil = it may begin.
function key_limits.first_full(q, job)
  return job.keys and key_limits.may_limit(q, job.keys) and key_limits.full(q, job) or nil
end

local PASSED_BEFORE_KEPT = 5
local FIRST_PAUSE_US, LONGEST_PAUSE_US, TRIES_KEPT_MS = 30000000, 600000000, 60000
local NEXT_KEPT_MS = 3600000
local MOST_KEYS, LOOK_AGAIN, LOOK_TAKES, FEW_LIMITS = 16, 1000000, 10000, 20

local function call(q, ...)
  q.key_commands = q.key_commands + 1
  return redis.call(...)
end

local function any_held(q)
  if q.any_key_held == nil then
    q.any_key_held = counters.are_limits(q) and call(q, 'EXISTS', q.prefix .. 'held_keys') == 1
  end
  return q.any_key_held
end

local function keys_of(lane) return string.gmatch(lane, '|([^|]+)') end

local FOR_A_LANE = 4 -- commands that this module has others run for a lane: its job's record, its place in line
local function lane_named(q, priority, group, name)
  q.key_commands = q.key_commands + FOR_A_LANE
  return { priority = priority, group = group, lane = name, name = priority .. ':' .. group .. ':' .. name,
    list = lanes.key(q, priority, group, name) }
end

-- A limit's text; one that cannot be read lets one at a time.
local function read_limit(text)
  local most, interval = string.match(text, '^(%S+) (%S+)$')
  local n, us = tonumber(most), tonumber(interval)
  local is_valid = (most == '-' or (n and n >= 1)) and (interval == '-' or (us and us >= 1))
  return is_valid and { n, us } or { 1 }
end

-- How many may have a key at a time, and the time between two that begin; nil = no limit.
local function limit_of(q, key)
  if q.limits_by_key == nil then
    local are_few = not counters.are_limits(q) or call(q, 'HLEN', q.prefix .. 'key_limits') <= FEW_LIMITS
    q.limits_by_key = are_few and {}
    local all = are_few and counters.are_limits(q) and call(q, 'HGETALL', q.prefix .. 'key_limits') or {}
    for i = 1, #all, 2 do q.limits_by_key[all[i]] = all[i + 1] end
  end
  local segment = string.match(key, '^[^:]*')
  local own, of_segment
  if q.limits_by_key then
    own, of_segment = q.limits_by_key[key], q.limits_by_key[segment .. ':*']
  else
    own, of_segment = unpack(call(q, 'HMGET', q.prefix .. 'key_limits', key, segment .. ':*'))
  end
  local text = own or of_segment
  if not text then return AT_ONCE[segment] and 1 or nil, nil end
  q.parsed_limits[text] = q.parsed_limits[text] or read_limit(text)
  return q.parsed_limits[text][1], q.parsed_limits[text][2]
end

local function is_limited(q, key)
  local most, interval = limit_of(q, key)
  return most or interval or (budgets.are_any(q) and budgets.room_at(q, key, 0) < math.huge)
end

-- The first member of a zset, and where it is; nothing = math.huge.
local function first_of(q, zset)
  local first = call(q, 'ZRANGE', zset, 0, 0, 'WITHSCORES')
  return first[1], tonumber(first[2] or math.huge)
end

-- A rate lets what begins in two seconds begin at once: keys are looked at about once a second.
local function burst_of(state) return math.max(1, math.floor(2000000 / state.interval)) end

-- When the rate of a key lets the next job begin.
local function next_begin(state) return state.next_at - (burst_of(state) - 1) * state.interval end

-- How many later jobs may pass the first lane that waits elsewhere before a place is kept for it.
local function passes_before_a_place(most) return PASSED_BEFORE_KEPT * (most == math.huge and 1 or most) end

-- The lane that waits elsewhere too, and how many passed it; nil = none did.
local function passed_at(q, key)
  local name, n = string.match(call(q, 'GET', q.prefix .. 'key_passed:' .. key) or '', '^(%S+) (%d+)$')
  return name, tonumber(n or 0)
end

-- Whether others have all places of a key, or are about to: not a rate, a pause or a budget keeps jobs waiting at it.
local function is_crowded(q, key)
  local most = limit_of(q, key)
  if not most then return false end
  local _, passed = passed_at(q, key)
  return counters.live_with(q, key) + (passed >= passes_before_a_place(most) and 1 or 0) >= most
    or call(q, 'EXISTS', q.prefix .. 'key_offers:' .. key) == 1
end

-- Whether a lane waits at a key for others to end. Only then are places kept for it elsewhere: it would keep them for
-- as long as a rate, a pause or a budget lasts.
local function waits_for_a_place(q, name)
  for key in keys_of(name) do
    if call(q, 'ZSCORE', q.prefix .. 'key_waits:' .. key, name) then return is_crowded(q, key) end
  end
  return false
end

-- A key with a limit, as this script knows it; false = it has none. Most have none of the fields that are set later.
local function state_of(q, key)
  local state = q.key_states[key]
  if state ~= nil then return state end
  local most, interval = limit_of(q, key)
  local has_budget = budgets.are_any(q) and budgets.room_at(q, key, 0) < math.huge
  if not most and not interval and not has_budget then
    q.key_states[key] = false
    return false
  end
  state = { most = most or math.huge, live = counters.live_with(q, key) }
  if has_budget then state.has_budget = true end
  if string.sub(key, 1, 8) == 'session:' then
    local pause = call(q, 'GET', q.prefix .. 'key_pause:' .. key)
    state.paused_until = tonumber(string.match(pause or '', '^%d+') or 0)
  end
  if interval then
    state.interval = interval
    local next_at = tonumber(call(q, 'GET', q.prefix .. 'key_next:' .. key) or 0)
    local last = q.now + burst_of(state) * interval
    -- A later time is of a slower rate before, or of a clock that was set back: one may begin.
    state.next_at = next_at > last and last - interval or math.max(q.now, next_at)
  end
  local lines = any_held(q)
    and { q.prefix .. 'key_waits:' .. key, q.prefix .. 'key_offers:' .. key, q.prefix .. 'key_elsewhere:' .. key }
  if lines and call(q, 'EXISTS', unpack(lines)) > 0 then
    local _, waits = first_of(q, lines[1])
    local _, offered = first_of(q, lines[2])
    state.first = math.min(waits, offered)
    local elsewhere, elsewhere_at = first_of(q, lines[3])
    local name, passed = passed_at(q, key)
    if name ~= elsewhere then passed = 0 end
    if elsewhere and passed >= passes_before_a_place(state.most) and not waits_for_a_place(q, elsewhere) then
      call(q, 'ZREM', q.prefix .. 'key_elsewhere:' .. key, elsewhere)
    elseif elsewhere then
      state.elsewhere, state.elsewhere_at, state.passed = elsewhere, elsewhere_at, passed
    end
  end
  q.key_states[key] = state
  return state
end

-- How many more jobs may begin at a key. `name` = their lane of keys (nil: they are in none), `at` = when it came.
local function room_of(q, key, state, name, at, max_steps)
  if state.paused_until and state.paused_until > q.now then return 0 end
  local room = state.most - state.live
  if state.has_budget then room = math.min(room, budgets.room_at(q, key, max_steps)) end
  if state.interval then
    room = math.min(room, math.floor((q.now + burst_of(state) * state.interval - state.next_at) / state.interval))
  end
  if state.elsewhere and state.elsewhere ~= name and state.elsewhere_at < at
    and state.passed >= passes_before_a_place(state.most) then
    room = room - 1
  end
  return room
end

-- How many jobs of a lane all its keys have room for, and the first key that has none.
local function room_in(q, lane, at)
  local room = math.huge
  for key in keys_of(lane.lane) do
    local state = state_of(q, key)
    if state then room = math.min(room, room_of(q, key, state, lane.name, at, lane.max_steps)) end
    if room < 1 then return 0, key end
  end
  return room
end

-- Where a job comes that is in no lane of keys: after those of its priority; one that was submitted before comes
-- first, as in its lane. One with `goes_first` (claim.lua) comes before all others.
local function comes_at(job)
  if job.goes_first then return 0 end
  local priority = tonumber(job.priority)
  return (job.attempt or 0) > 0 and priority * lanes.A_PRIORITY or (priority + 1) * lanes.A_PRIORITY - 1
end

local function wait_at(q, lane, at, key)
  local is_elsewhere = is_crowded(q, key)
  for other in keys_of(lane.lane) do
    if other == key then
      call(q, 'ZADD', q.prefix .. 'key_waits:' .. other, int(at), lane.name)
      -- A key whose rate has no room is looked at as soon as it has, however many keys jobs wait for.
      local state = state_of(q, other)
      local due = state and state.interval and next_begin(state) or 0
      if due > q.now then
        call(q, 'ZADD', q.prefix .. 'held_keys', 'LT', int(due), other)
      else
        call(q, 'ZADD', q.prefix .. 'held_keys', 'NX', int(q.now + LOOK_AGAIN), other)
      end
    elseif is_elsewhere and state_of(q, other) then
      call(q, 'ZADD', q.prefix .. 'key_elsewhere:' .. other, int(at), lane.name)
    end
    q.key_states[other] = nil
  end
  q.any_key_held = true
end

local function is_offered(q, lane, at)
  for key in keys_of(lane.lane) do
    if is_limited(q, key) then
      call(q, 'ZADD', q.prefix .. 'key_offers:' .. key, int(at), lane.name)
      call(q, 'ZADD', q.prefix .. 'held_keys', 'NX', int(q.now + LOOK_AGAIN), key)
    end
    q.key_states[key] = nil
  end
  q.any_key_held = true
end

-- A lane is in no line of its keys any more. Most have few of these lines; with one key, it waits nowhere else.
local function forget(q, lane)
  local keys = {}
  for key in keys_of(lane.lane) do
    keys[#keys + 1] = key
    q.key_states[key] = nil
  end
  for _, line in ipairs({ 'key_waits:', 'key_offers:', #keys > 1 and 'key_elsewhere:' or nil }) do
    local zsets = {}
    for i, key in ipairs(keys) do zsets[i] = q.prefix .. line .. key end
    if #keys == 1 or call(q, 'EXISTS', unpack(zsets)) > 0 then
      for _, zset in ipairs(zsets) do call(q, 'ZREM', zset, lane.name) end
    end
  end
end

local function tidy(q, key)
  if call(q, 'EXISTS', q.prefix .. 'key_waits:' .. key, q.prefix .. 'key_offers:' .. key) == 0 then
    call(q, 'ZREM', q.prefix .. 'held_keys', key)
  end
end

-- See `first_full`.
function key_limits.full(q, job)
  for key in counters.keys_of(job) do
    local state = state_of(q, key)
    if state then
      local at = q.key_turn and q.key_turn.at or comes_at(job)
      local max_steps = state.has_budget and budgets.max_steps_of(q, job) or nil
      local room = room_of(q, key, state, q.key_turn and q.key_turn.name, at, max_steps)
      if room < 1 or (not q.key_turn and state.first and state.first < at) then return key end
      if state.interval or state.elsewhere then job.counts_at_keys = true end
    end
  end
  return nil
end

-- Skyvern says that a job's browser session is occupied although none of ours uses it: no job gets the session for half
-- a minute, doubling to ten if that was not enough.
function key_limits.pause_session(q, job)
  local key = string.match(' ' .. (job.keys or ''), ' (session:%S+)')
  if not key then return end
  local pause = q.prefix .. 'key_pause:' .. key
  local until_us, tries = string.match(call(q, 'GET', pause) or '', '^(%d+) (%d+)$')
  if until_us and tonumber(until_us) > q.now then return end
  tries = tonumber(tries or 0)
  local wait = math.min(FIRST_PAUSE_US * 2 ^ tries, LONGEST_PAUSE_US)
  call(q, 'SET', pause, int(q.now + wait) .. ' ' .. int(tries + 1), 'PX', int(wait / 1000) + TRIES_KEPT_MS)
  q.key_states[key] = nil
end

-- The key is kept an hour longer than it says anything: Redis' own clock may be ahead of ours.
local function set_next(q, key, at)
  call(q, 'SET', q.prefix .. 'key_next:' .. key, int(at), 'PX',
    int(math.ceil(math.max(0, at - q.now) / 1000)) + NEXT_KEPT_MS)
end

-- A ready job with keys begins, for which all have room (`full`); its slot is counted already.
function key_limits.begin(q, job)
  if not job.counts_at_keys then return end
  local at = q.key_turn and q.key_turn.at or comes_at(job)
  local rates = {}
  for key in counters.keys_of(job) do
    local state = q.key_states[key]
    if state and state.interval then
      local before = state.next_at
      state.next_at = before + state.interval
      set_next(q, key, state.next_at)
      rates[#rates + 1] = table.concat({ key, int(before), int(state.next_at) }, ' ')
    end
    if state and state.elsewhere and state.elsewhere_at < at and state.elsewhere ~= (q.key_turn
      and q.key_turn.name) then
      state.passed = state.passed + 1
      call(q, 'SET', q.prefix .. 'key_passed:' .. key, state.elsewhere .. ' ' .. int(state.passed), 'PX',
        int(DAY / 1000))
    end
  end
  if #rates > 0 then
    call(q, 'HSET', job_key(q, job.id), 'rates', int(job.attempt + 1) .. ' ' .. table.concat(rates, ' '))
  end
end

-- A job's claim surely made no run: the next job may begin when it might have before the claim. Where another began at
-- the key since, nothing is given back: of jobs that began at once (`burst_of`) only the last claim is. That a
-- elsewhere was passed stays counted.
function key_limits.give_back_rate(q, job)
  if not job.keys then return end
  local attempt, rates = string.match(call(q, 'HGET', job_key(q, job.id), 'rates') or '', '^(%d+) (.*)$')
  if tonumber(attempt) ~= job.attempt then return end
  call(q, 'HDEL', job_key(q, job.id), 'rates')
  for key, before, after in string.gmatch(rates, '(%S+) (%d+) (%d+)') do
    if call(q, 'GET', q.prefix .. 'key_next:' .. key) == after then
      set_next(q, key, tonumber(before))
      call(q, 'ZADD', q.prefix .. 'held_keys', 'XX', int(q.now), key)
      q.key_states[key] = nil
    end
  end
end

-- A ready job moves to the lane of its keys, which waits at `key`, or is in line already.
function key_limits.wait(q, job, key)
  local lane = lane_named(q, job.priority, job.group, lanes.keyed_of(job))
  local comes_first = job.goes_first or (job.attempt or 0) > 0
  local length = call(q, comes_first and 'LPUSH' or 'RPUSH', lane.list, job.id)
  if length > 1 and not comes_first then return end
  if job.batch ~= NO_BATCH then
    call(q, 'SADD', q.prefix .. 'batch_lanes:' .. job.batch, lanes.place_in_batch(job.priority, job.group, lane.lane))
  end
  local at = lanes.place_in_line(q, lane)
  if length == 1 then return wait_at(q, lane, at, key) end
  for other in keys_of(lane.lane) do
    for _, line in ipairs({ 'key_waits:', 'key_elsewhere:' }) do
      call(q, 'ZADD', q.prefix .. line .. other, 'XX', int(at), lane.name)
    end
    q.key_states[other] = nil
  end
end

-- A claim's turn of a lane begins: returns how many jobs its keys have room for.
function key_limits.enter(q, priority, group, name)
  local lane = lane_named(q, priority, group, name)
  forget(q, lane)
  lane.at = lanes.place_in_line(q, lane)
  if not lane.at then return 0 end
  q.key_turn = lane
  return (room_in(q, lane, lane.at))
end

-- The turn ends. Whether the lane is to be listed again: it is not empty, and its keys have room for more.
function key_limits.leave(q, priority, group, name)
  local lane = lane_named(q, priority, group, name)
  local at = lanes.place_in_line(q, lane)
  q.key_turn = nil
  if not at then
    for key in keys_of(name) do tidy(q, key) end
    return false
  end
  local _, full = room_in(q, lane, at)
  if full then wait_at(q, lane, at, full) else is_offered(q, lane, at) end
  return not full
end

-- Moves a lane that waits at a key on: to another key, or to the lanes that claims take from. Returns how many jobs
-- were offered the key; nil = it has no room for the first of them.
local function move_on(q, key, name, at)
  local lane = lane_named(q, string.match(name, '^(%d):([^:]*):(.*)$'))
  local length = call(q, 'LLEN', lane.list)
  local held = call(q, 'HMGET', lanes.group_key(q, lane.group), 'paused', 'capped')
  local is_paused = held[1] or held[2]
  local may_go = length > 0 and lanes.runs(q, lane.lane)
  if may_go and not is_paused then at = lanes.place_in_line(q, lane) end
  local full = may_go and not is_paused and select(2, room_in(q, lane, at))
  forget(q, lane)
  if full then
    wait_at(q, lane, at, full)
    return full ~= key and 0 or nil
  end
  if not may_go then return 0 end -- it is empty, or listed once its batch runs again
  lanes.list_lane(q, lane.priority, lane.group, lane.lane, true)
  if is_paused then return 0 end
  is_offered(q, lane, at)
  return length
end

-- Offers a key to the first lanes that wait at it, to as many jobs as it has room for.
local function offer(q, key)
  q.key_states[key] = nil
  local waits, offered = q.prefix .. 'key_waits:' .. key, 0
  while q.key_looks_left > 0 do
    local name, at = first_of(q, waits)
    if not name then break end
    local state = state_of(q, key)
    if state and room_of(q, key, state, name, at, 0) - offered < 1 then break end
    q.key_looks_left = q.key_looks_left - lanes.keys_in(name) - 1
    local n = move_on(q, key, name, at)
    if not n then break end
    offered = offered + n
  end
  local look = q.now + math.max(LOOK_AGAIN, call(q, 'ZCARD', q.prefix .. 'held_keys') * LOOK_TAKES)
  if q.key_looks_left <= 0 then
    look = q.now
  elseif select(2, limit_of(q, key)) then
    local due = next_begin(state_of(q, key))
    if due > q.now then look = math.min(look, due) end -- else jobs wait there for something else
  end
  call(q, 'ZADD', q.prefix .. 'held_keys', int(look), key)
  tidy(q, key)
  q.key_states[key] = nil
  if offered > 0 then lanes.wake(q) end
end

-- Offers keys that are due to be looked at: a rate has room again, a limit was changed, or jobs that were offered one
-- cannot be claimed now.
function key_limits.offer_due(q)
  if not any_held(q) then return end
  local due = call(q, 'ZRANGEBYSCORE', q.prefix .. 'held_keys', '-inf', int(q.now), 'LIMIT', 0, MOST_KEYS)
  local walk = call(q, 'HGET', q.meta, 'keys_walk')
  if walk then
    local found = call(q, 'ZSCAN', q.prefix .. 'held_keys', walk, 'COUNT', MOST_KEYS)
    for i = 1, #found[2], 2 do due[#due + 1] = found[2][i] end
    if found[1] == '0' then
      call(q, 'HDEL', q.meta, 'keys_walk')
    else
      call(q, 'HSET', q.meta, 'keys_walk', found[1])
    end
  end
  for _, key in ipairs(due) do offer(q, key) end
end

-- When a key is to be looked at next; 0 = no job waits at one.
function key_limits.next_check(q)
  if not any_held(q) then return 0 end
  local key, at = first_of(q, q.prefix .. 'held_keys')
  return key and at or 0
end

-- Why a key has no room now, for waits.lua.
function key_limits.waits_at(q, key)
  local found, most, interval = {}, limit_of(q, key)
  local pause = string.match(redis.call('GET', q.prefix .. 'key_pause:' .. key) or '', '^%d+')
  if pause and tonumber(pause) > q.now then found[1] = { 'key_occupied', key, pause } end
  if most and counters.live_with(q, key) >= most then found[#found + 1] = { 'key_full', key, '', int(most) } end
  if interval then
    local next_one = tonumber(redis.call('GET', q.prefix .. 'key_next:' .. key) or 0)
      - (burst_of({ interval = interval }) - 1) * interval
    if next_one > q.now and next_one <= q.now + interval then
      found[#found + 1] = { 'key_rate', key, int(next_one), int(interval) }
    end
  end
  return found
end

-- Writes what took a key, and what freed it.
function key_limits.save_moves(q, key, members)
  local set, came, went = q.prefix .. 'key:' .. key, {}, {}
  for member, has in pairs(members) do
    if has then came[#came + 1] = member else went[#went + 1] = member end
  end
  in_parts('SADD', set, came)
  in_parts('SREM', set, went)
  q.key_commands = q.key_commands + 1
  q.key_states = nil
  if #went > 0 then q.freed_keys[#q.freed_keys + 1] = key end
end

-- Offers the keys that were freed.
function key_limits.offer_freed(q, freed_keys)
  if not any_held(q) then return end
  local late = {} -- a claim offers these
  for i, held_at in ipairs(call(q, 'ZMSCORE', q.prefix .. 'held_keys', unpack(freed_keys))) do
    if held_at and q.key_looks_left > 0 then
      offer(q, freed_keys[i])
    elseif held_at then
      late[#late + 1] = int(q.now)
      late[#late + 1] = freed_keys[i]
    end
  end
  if #late > 0 then call(q, 'ZADD', q.prefix .. 'held_keys', 'XX', unpack(late)) end
  if q.key_looks_left <= 0 then lanes.wake(q) end
end

return key_limits
