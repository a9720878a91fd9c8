-- Lanes: FIFOs of ready jobs of one priority, group and batch; the ring in which groups take turns, and wake-ups.
local function lane_key(priority, group, batch)
  return PREFIX .. 'lane:' .. priority .. ':' .. group .. ':' .. batch
end
local function lanes_key(priority, group) return PREFIX .. 'lanes:' .. priority .. ':' .. group end
local function group_key(group) return PREFIX .. 'group:' .. group end

-- A job's state is read together with its batch's flag: canceling a million jobs sets one field.
local canceled_batches = {}
local function batch_canceled(batch)
  if canceled_batches[batch] == nil then
    canceled_batches[batch] = redis.call('HGET', PREFIX .. 'batch:' .. batch, 'held') == 'canceled'
  end
  return canceled_batches[batch]
end

-- The canary of a batch, its first jobs, waits in lanes of its own, named '<batch>+': they are claimed while
-- the others are held for their outcome.
-- Jobs that wait for keys are in lanes of their own, too: '<batch>|<key>|<key>' (keys.lua).
local CANARY = '+'
local function lane_of(job)
  return (job.canary and job.batch ~= NO_BATCH) and job.batch .. CANARY or job.batch
end
local batch_of, is_canary
do
  local batches, canaries = {}, {} -- by lane: a claim asks for each job
  function batch_of(lane)
    if not batches[lane] then batches[lane] = string.match(lane, '^[^|+]*') end
    return batches[lane]
  end
  function is_canary(lane)
    if canaries[lane] == nil then canaries[lane] = string.find(lane, '^[^|]*%+') ~= nil end
    return canaries[lane]
  end
end

local function keys_in(lane) return select(2, string.gsub(lane, '|', '|')) end
local function keyed_lane_of(job) return lane_of(job) .. '|' .. (string.gsub(job.keys, ' ', '|')) end

-- The key at which a lane waits, which lists it once it has room; nil = at none.
local function waits_at(priority, group, lane)
  for key in string.gmatch(lane, '|([^|]+)') do
    if redis.call('ZSCORE', PREFIX .. 'key_waits:' .. key, priority .. ':' .. group .. ':' .. lane) then return key end
  end
  return nil
end

-- Where a lane is, as its batch lists it: '<priority>:<group>', and its keys.
local function place_in_batch(priority, group, lane)
  return priority .. ':' .. group .. string.match(lane, '^[^|]*(.*)$')
end

-- A batch's lanes run once it is sealed and while no hold is set; read once a script.
local running_lanes = {}
local function lane_runs(lane)
  if batch_of(lane) == NO_BATCH then return true end
  if running_lanes[lane] == nil then
    local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch_of(lane), 'sealed', 'held')
    running_lanes[lane] = f[1] == '1' and (not f[2] or (f[2] == 'canary' and is_canary(lane)))
  end
  return running_lanes[lane]
end

-- What a claimed job adds to its group's virtual time.
local TURN = 2

-- A group that returns enters the ring at its own last virtual time, so it gains nothing by leaving. A group that is new,
-- or that is behind the first of the ring, enters half a turn behind that first: it makes up for no missed turn. At the
-- same time as the first it might come before it, by its name, and ever new groups would keep the first waiting.
-- An empty ring remembers the time of the last that left it, or a newcomer would begin at 0 and
-- keep the others waiting for as many turns as they ever had. A paused group stays out of the ring until it is resumed.
local function ring_enter(priority, group)
  local ring = PREFIX .. 'ring:' .. priority
  if redis.call('ZSCORE', ring, group) then return end
  local f = redis.call('HMGET', group_key(group), 'vt:' .. priority, 'paused')
  if f[2] then return redis.call('HSET', group_key(group), 'capped', '1') end
  local own, first = tonumber(f[1] or -1) or -1, redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')[2]
  local start = first and first + TURN / 2 or tonumber(redis.call('HGET', META, 'vt:' .. priority) or 0) or 0
  redis.call('ZADD', ring, int(own >= tonumber(first or start) and own or start), group)
end

-- Checks a job's lane and counters before anything of the job is written; each lane is checked once a script.
local expect_lane
do
  local sound = {}
  function expect_lane(priority, group, lane)
    local key = lane_key(priority, group, lane)
    if sound[key] then return end
    expect(key, 'list')
    expect(lanes_key(priority, group), 'list')
    expect(group_key(group), 'hash')
    lane_runs(lane)
    sound[key] = true
  end
end

-- A group that leaves although jobs of it wait is marked: `readmit` brings it back.
local function ring_leave(priority, group, virtual, may_not_go)
  redis.call('ZREM', PREFIX .. 'ring:' .. priority, group)
  redis.call('HSET', group_key(group), 'vt:' .. priority, virtual, unpack(may_not_go and { 'capped', '1' } or {}))
  redis.call('HSET', META, 'vt:' .. priority, virtual)
end

-- A lane is in its group's list exactly while it holds ids and its batch runs.
local function list_lane(priority, group, lane, at_head)
  redis.call(at_head and 'LPUSH' or 'RPUSH', lanes_key(priority, group), lane)
  ring_enter(priority, group)
end

local function push(priority, group, lane, ids, at_head)
  local length = in_parts(at_head and 'LPUSH' or 'RPUSH', lane_key(priority, group, lane), ids)
  if length == #ids and lane_runs(lane) then list_lane(priority, group, lane, at_head) end
end

-- Lanes of a batch handled in one script; the rest goes in steps, since a batch may have jobs of a million groups.
local LANES_A_STEP = 100

-- Removes lanes of a batch that no claim will take from any more; the sweep removes the rest (step_lanes.lua). In the
-- lists of their groups they stay until claims skip them, as lanes of any held batch.
local function drop_lanes(batch)
  local used, lanes = PREFIX .. 'batch_lanes:' .. batch, {}
  for _, where in ipairs(redis.call('SPOP', used, LANES_A_STEP)) do
    local place, keys = string.match(where, '^([^|]*)(.*)$')
    lanes[#lanes + 1] = PREFIX .. 'lane:' .. place .. ':' .. batch .. keys
    lanes[#lanes + 1] = PREFIX .. 'lane:' .. place .. ':' .. batch .. CANARY .. keys
  end
  if #lanes > 0 then redis.call('UNLINK', unpack(lanes)) end -- a million ids take a while to free
  redis.call(redis.call('EXISTS', used) == 1 and 'SADD' or 'SREM', PREFIX .. 'dropping', batch)
  return #lanes / 2
end

-- Where a lane of keys comes among those of a key (see keys.lua), by its first job; nil = it is empty.
local A_PRIORITY, BEGIN = 2 ^ 51, 1577836800000000 -- times since 2020 are below that for 71 years
local function place_in_line(lane)
  local first = redis.call('LINDEX', lane.list, 0)
  if not first then return nil end
  local _, f = try(read_fields, job_key(first), 'ready_at', 'created', 'max_steps')
  lane.max_steps = tonumber(f and f[3] or nil)
  local since = tonumber(f and (f[1] or f[2]) or nil)
  return tonumber(lane.priority) * A_PRIORITY + math.max(0, (since or 0) - BEGIN)
end

-- A lane of keys waits at the first of them, which lists it once all have room: unlike a search in the list of the lanes
-- of its group, that costs the same however many there are.
local function line_up(priority, group, lane, key)
  local at = place_in_line({ priority = priority, list = lane_key(priority, group, lane) })
  redis.call('ZADD', PREFIX .. 'key_waits:' .. key, int(at), priority .. ':' .. group .. ':' .. lane)
  redis.call('ZADD', PREFIX .. 'held_keys', 'NX', now_text(), key)
end

-- Lists the lanes of a batch, at a priority of a group (and of keys), that hold ids and that no claim has taken out.
local function list_lanes_at(batch, where)
  local priority, group, keys = string.match(where, '^(%d):([^|]*)(.*)$')
  for _, lane in ipairs({ batch .. keys, batch .. CANARY .. keys }) do
    local key = string.match(lane, '|([^|]+)')
    if lane_runs(lane) and redis.call('EXISTS', lane_key(priority, group, lane)) == 1
      and not waits_at(priority, group, lane) then
      if key then
        line_up(priority, group, lane, key)
      elseif not redis.call('LPOS', lanes_key(priority, group), lane) then
        list_lane(priority, group, lane, false)
      end
    end
  end
end

-- The same for many priorities and groups; damaged lanes are listed once they are sound (recheck.lua).
local function list_lanes_of(batch, places)
  for _, where in ipairs(places) do
    if not try(list_lanes_at, batch, where) then set_aside('lane ' .. batch .. ' ' .. where) end
  end
end

-- A batch that was held runs again: its first lanes are listed now, all others in steps (lib/jobs/listing.lua).
local function list_lanes(batch)
  running_lanes[batch], running_lanes[batch .. CANARY] = nil, nil
  local found = redis.call('SSCAN', PREFIX .. 'batch_lanes:' .. batch, '0', 'COUNT', LANES_A_STEP)
  list_lanes_of(batch, found[2])
  if found[1] ~= '0' then redis.call('HSET', PREFIX .. 'listing', batch, '0') end
end

-- Whether there may be something to claim: groups in a ring, lanes still to be listed, suspects.
local function anything_ready()
  local ring = PREFIX .. 'ring:'
  return redis.call('EXISTS', ring .. 0, ring .. 1, ring .. 2, ring .. 3, PREFIX .. 'listing') > 0
    or redis.call('ZCOUNT', PREFIX .. 'suspects', '-inf', int(NOW)) > 0
end

-- One element at most: a wake-up means that there may be work, not how much.
local function wake()
  if redis.call('EXISTS', PREFIX .. 'wake') == 0 then redis.call('LPUSH', PREFIX .. 'wake', '1') end
end

-- A group without a cap, pause or live jobs expires a day later.
local function expire_group(group)
  local f = redis.call('HMGET', group_key(group), 'cap', 'paused', 'live')
  if not f[1] and not f[2] and tonumber(f[3] or 0) == 0 then redis.call('EXPIRE', group_key(group), 86400) end
end

-- Brings back a group that left the ring because nothing of it could be claimed.
local function readmit(group)
  if redis.call('HDEL', group_key(group), 'capped') == 0 then return end
  for priority = 0, 3 do
    if redis.call('EXISTS', lanes_key(priority, group)) == 1 then ring_enter(priority, group) end
  end
  wake()
end
