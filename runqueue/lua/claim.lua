-- use: limits board server
-- Takes ready jobs for submission: ready → submitting (or dead: deadline over).
-- Permit, slot and claim in one script: the least of the three is what is taken.
-- ARGV  now_us, process, claim_id, want (≤ 500; 0 refreshes the board), tick_us (0 = not the first),
--       linger (0 | 1: stay on the board although nothing is ready)
-- Reply { 'stale' | 'fenced', now_us }: the pump ends, see board.lua
--       { 'moved', now_us, run_id }: a Redis server that is not trusted (yet) answers, see server.lua
--       { 'ok', now_us, sequence, next_us, left (0 | 1), per job: id, attempt, body }
--       next_us = when a permit or the end of a hold is due (0 = nothing to wait for but work);
--       left = 1: nothing was taken and nothing is ready, the pump is off the board.
-- The same claim_id asked again gives the same jobs and takes nothing more.
local process, claim_id = ARGV[2], ARGV[3]
local want, tick_us, linger = tonumber(ARGV[4]), tonumber(ARGV[5]), ARGV[6] == '1'
local CLAIMS, CLAIM = PREFIX .. 'claims:' .. process, PREFIX .. 'claim:' .. claim_id
local MAX_SKIPS, MAX_HELD = 1000, 64
local PROBE_EVERY = 60000000

local attempts = {}
local function with_bodies(reply, ids)
  for _, id in ipairs(ids) do
    reply[#reply + 1] = id
    reply[#reply + 1] = attempts[id] or redis.call('HGET', job_key(id), 'attempt')
    reply[#reply + 1] = redis.call('GET', PREFIX .. 'body:' .. id) or ''
  end
  return reply
end

local before = redis.call('GET', CLAIM)
if before then
  local mine = {}
  for id in string.gmatch(before, '%S+') do
    local f = redis.call('HMGET', job_key(id), 'state', 'process')
    if f[1] == 'submitting' and f[2] == process then mine[#mine + 1] = id end
  end
  return with_bodies({ 'ok', int(NOW), redis.call('HGET', META, 'sequence') or '0', '0', 0 }, mine)
end

expect(CLAIMS, 'zset')
for priority = 0, 3 do expect(PREFIX .. 'ring:' .. priority, 'zset') end
-- A full server refuses this write, and with it the claim, before anything is taken.
redis.call('HSETNX', META, 'sequence', '0')
local server = this_server()
if not is_trusted(server) then return { 'moved', int(NOW), server } end
local refused = board_enter('submit', process, tick_us)
if refused then return refused end
local meta = redis.call('HMGET', META, 'sequence', 'hold_until', 'hold_probe')

local limits = read_limits()
local room = want
if limits.concurrent_runs > 0 then
  local live = tonumber(redis.call('HGET', COUNTERS, 'live') or 0)
  room = math.min(room, math.max(0, limits.concurrent_runs - live))
end
local next_us, probing = 0, false
local hold_until = tonumber(meta[2] or 0)
if hold_until > NOW then
  room, next_us = 0, hold_until
elseif hold_until > 0 and meta[3] == '1' then
  room, probing = math.min(room, 1), true
end
local due
room, due = allowed('dispatch', limits.dispatch, limits.burst, room)
next_us = math.max(next_us, due)
room, due = allowed('request', limits.requests_per_second, limits.burst, room)
next_us = math.max(next_us, due)

local taken, groups, skips, held = {}, {}, 0, 0

local function claim(id, priority, group, batch)
  local f = redis.call('HMGET', job_key(id), 'state', 'attempt', 'batch', 'deadline', 'priority', 'group')
  if f[1] ~= 'ready' or (f[3] or NO_BATCH) ~= batch or (f[5] or '2') ~= int(priority)
    or (f[6] or 'default') ~= group then
    skips = skips + 1 -- canceled meanwhile, taken over by another batch, or handed in anew elsewhere
    return
  end
  local job = { id = id, state = 'ready', priority = priority, group = group, batch = batch,
    deadline = f[4] }
  if f[4] and tonumber(f[4]) <= NOW then
    skips = skips + 1
    end_job(job, 'dead', { 'reason', 'deadline: it passed while the job was queued' })
    return
  end
  count_state(job, 'submitting')
  attempts[id] = int(tonumber(f[2] or 0) + 1)
  redis.call('HSET', job_key(id), 'state', 'submitting', 'attempt', attempts[id], 'process', process)
  taken[#taken + 1] = id
end

-- Takes up to `quota` jobs of one group, its lanes in turn; true when the group has none left.
local function from_lanes(priority, group, quota)
  local lanes, goal = lanes_key(priority, group), #taken + quota
  while #taken < goal and skips < MAX_SKIPS and held < MAX_HELD do
    local batch = redis.call('LINDEX', lanes, 0)
    if not batch then return true end
    if not batch_runs(batch) then
      held = held + 1
      redis.call('LPOP', lanes)
    else
      local lane = lane_key(priority, group, batch)
      local share = math.max(1, math.floor((goal - #taken) / redis.call('LLEN', lanes)))
      for _, id in ipairs(redis.call('LPOP', lane, share) or {}) do claim(id, priority, group, batch) end
      if redis.call('EXISTS', lane) == 0 then
        redis.call('LPOP', lanes)
      else
        redis.call('RPUSH', lanes, redis.call('LPOP', lanes))
      end
    end
  end
  return redis.call('EXISTS', lanes) == 0
end

local function room_in(group)
  local f = groups[group]
  if not f then
    local g = redis.call('HMGET', group_key(group), 'cap', 'live', 'paused')
    f = { cap = tonumber(g[1] or 0), live = tonumber(g[2] or 0), paused = g[3] }
    groups[group] = f
  end
  if f.paused then return 0 end
  if f.cap == 0 then return room end
  return math.max(0, f.cap - f.live - (group_live[group] or 0))
end

for priority = 0, 3 do
  local ring = PREFIX .. 'ring:' .. priority
  while #taken < room and skips < MAX_SKIPS and held < MAX_HELD do
    local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')
    local group = first[1]
    if not group then break end
    local free = room_in(group)
    if free == 0 then
      ring_leave(priority, group, first[2])
      redis.call('HSET', group_key(group), 'capped', '1')
    else
      local quota = math.max(1, math.floor((room - #taken) / redis.call('ZCARD', ring)))
      local count = #taken
      local empty = from_lanes(priority, group, math.min(quota, free))
      local virtual = int(tonumber(first[2]) + #taken - count)
      if empty then
        ring_leave(priority, group, virtual)
      else
        redis.call('ZADD', ring, virtual, group)
      end
    end
  end
end

-- Dead ids at the head of a lane are walked in bounded steps, but without a pause between them.
if #taken < room and (skips >= MAX_SKIPS or held >= MAX_HELD) then next_us = NOW end
local sequence = tonumber(meta[1] or 0)
if #taken > 0 then
  local scored = {}
  for _, id in ipairs(taken) do
    scored[#scored + 1] = int(NOW)
    scored[#scored + 1] = id
  end
  redis.call('ZADD', CLAIMS, unpack(scored))
  redis.call('SET', CLAIM, table.concat(taken, ' '), 'PX', 120000)
  sequence = redis.call('HINCRBY', META, 'sequence', #taken)
  redis.call('HDEL', META, 'rested')
  bump(totals, 'claims', #taken)
  take('dispatch', limits.dispatch, #taken)
  take('request', limits.requests_per_second, #taken)
  if probing then redis.call('HSET', META, 'hold_until', int(NOW + PROBE_EVERY)) end
end
save()
local left = 0
if want > 0 and #taken == 0 and not linger and not anything_ready() then
  board_leave('submit', process)
  left = 1
end
return with_bodies({ 'ok', int(NOW), int(sequence), int(next_us), left }, taken)
