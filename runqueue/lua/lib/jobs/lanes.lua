-- use: job_record
-- Lanes: FIFOs of ready jobs of one priority, group and batch; the ring in which groups take turns, and wake-ups.
local lanes = {}

function lanes.key(q, priority, group, batch)
  return q.prefix .. 'lane:' .. priority .. ':' .. group .. ':' .. batch
end
function lanes.list_key(q, priority, group) return q.prefix .. 'lanes:' .. priority .. ':' .. group end
function lanes.group_key(q, group) return q.prefix .. 'group:' .. group end

-- A job's state is read together with its batch's flag: canceling a million jobs sets one field.
function lanes.batch_canceled(q, batch)
  if q.canceled_batches[batch] == nil then
    q.canceled_batches[batch] = redis.call('HGET', q.prefix .. 'batch:' .. batch, 'held') == 'canceled'
  end
  return q.canceled_batches[batch]
end

-- The canary of a batch, its first jobs, waits in lanes of its own, named '<batch>+': they are claimed while
-- the others are held for their outcome.
-- Jobs that wait for keys are in lanes of their own, too: '<batch>|<key>|<key>' (key_limits.lua).
lanes.CANARY = '+'
function lanes.of(job)
  return (job.canary and job.batch ~= NO_BATCH) and job.batch .. lanes.CANARY or job.batch
end
function lanes.batch_of(lane) return string.match(lane, '^[^|+]*') end
function lanes.is_canary(lane) return string.find(lane, '^[^|]*%+') ~= nil end

function lanes.keys_in(lane) return select(2, string.gsub(lane, '|', '|')) end
function lanes.keyed_of(job) return lanes.of(job) .. '|' .. (string.gsub(job.keys, ' ', '|')) end

-- The key at which a lane waits, which lists it once it has room; nil = at none.
function lanes.waits_at(q, priority, group, lane)
  for key in string.gmatch(lane, '|([^|]+)') do
    if redis.call('ZSCORE', q.prefix .. 'key_waits:' .. key, priority .. ':' .. group .. ':' .. lane) then
      return key
    end
  end
  return nil
end

-- Where a lane is, as its batch lists it: '<priority>:<group>', and its keys.
function lanes.place_in_batch(priority, group, lane)
  return priority .. ':' .. group .. string.match(lane, '^[^|]*(.*)$')
end

-- A batch's lanes run once it is sealed and while no hold is set; read once a script.
function lanes.runs(q, lane)
  if lanes.batch_of(lane) == NO_BATCH then return true end
  if q.running_lanes[lane] == nil then
    local f = redis.call('HMGET', q.prefix .. 'batch:' .. lanes.batch_of(lane), 'sealed', 'held')
    q.running_lanes[lane] = f[1] == '1' and (not f[2] or (f[2] == 'canary' and lanes.is_canary(lane)))
  end
  return q.running_lanes[lane]
end

-- What a claimed job adds to its group's virtual time.
lanes.TURN = 2

-- A group that returns enters the ring at its own last virtual time, so it gains nothing by leaving. A group that is new,
-- or that is behind the first of the ring, enters half a turn behind that first: it makes up for no missed turn. At the
-- same time as the first it might come before it, by its name, and ever new groups would keep the first waiting.
-- An empty ring remembers the time of the last that left it, or a newcomer would begin at 0 and
-- keep the others waiting for as many turns as they ever had. A paused group stays out of the ring until it is resumed.
function lanes.ring_enter(q, priority, group)
  local ring = q.prefix .. 'ring:' .. priority
  local there, first = unpack(redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES'))
  if there == group or (there and redis.call('ZSCORE', ring, group)) then return end
  local f = redis.call('HMGET', lanes.group_key(q, group), 'vt:' .. priority, 'paused')
  if f[2] then return redis.call('HSET', lanes.group_key(q, group), 'capped', '1') end
  local own = tonumber(f[1] or -1) or -1
  local start = first and first + lanes.TURN / 2 or tonumber(redis.call('HGET', q.meta, 'vt:' .. priority) or 0) or 0
  redis.call('ZADD', ring, int(own >= tonumber(first or start) and own or start), group)
end

-- A group that leaves although jobs of it wait is marked: `readmit` brings it back.
function lanes.ring_leave(q, priority, group, virtual)
  redis.call('ZREM', q.prefix .. 'ring:' .. priority, group)
  redis.call('HSET', lanes.group_key(q, group), 'vt:' .. priority, virtual, 'capped', '1')
  redis.call('HSET', q.meta, 'vt:' .. priority, virtual)
end

-- A lane is in its group's list exactly while it holds ids and its batch runs.
function lanes.list_lane(q, priority, group, lane, at_head)
  redis.call(at_head and 'LPUSH' or 'RPUSH', lanes.list_key(q, priority, group), lane)
  lanes.ring_enter(q, priority, group)
end

function lanes.push(q, priority, group, lane, ids, at_head)
  local length = in_parts(at_head and 'LPUSH' or 'RPUSH', lanes.key(q, priority, group, lane), ids)
  if length == #ids and lanes.runs(q, lane) then lanes.list_lane(q, priority, group, lane, at_head) end
end

-- Lanes of a batch handled in one script; the rest goes in steps, since a batch may have jobs of a million groups.
lanes.LANES_A_STEP = 100

-- Removes lanes of a batch that no claim will take from any more; the sweep removes the rest (step_lanes.lua). In the
-- lists of their groups they stay until claims skip them, as lanes of any held batch.
function lanes.drop(q, batch)
  local used, gone = q.prefix .. 'batch_lanes:' .. batch, {}
  for _, where in ipairs(redis.call('SPOP', used, lanes.LANES_A_STEP)) do
    local place, keys = string.match(where, '^([^|]*)(.*)$')
    gone[#gone + 1] = q.prefix .. 'lane:' .. place .. ':' .. batch .. keys
    gone[#gone + 1] = q.prefix .. 'lane:' .. place .. ':' .. batch .. lanes.CANARY .. keys
  end
  if #gone > 0 then redis.call('UNLINK', unpack(gone)) end -- a million ids take a while to free
  redis.call(redis.call('EXISTS', used) == 1 and 'SADD' or 'SREM', q.prefix .. 'dropping', batch)
  return #gone / 2
end

-- Where a lane of keys comes among those of a key (see key_limits.lua), by its first job; nil = it is empty.
lanes.A_PRIORITY = 2 ^ 51
local IN_LINE = job_record.fields('state', 'ready_at', 'created', 'max_steps')
local BEGIN = 1577836800000000 -- times since 2020 are below that for 71 years
function lanes.place_in_line(q, lane)
  local first = redis.call('LINDEX', lane.list, 0)
  if not first then return nil end
  local f = job_record.read_fields(q, first, IN_LINE) or {}
  lane.max_steps = tonumber(f[4] or nil)
  local since = tonumber(f[2] or f[3] or nil)
  return tonumber(lane.priority) * lanes.A_PRIORITY + math.max(0, (since or 0) - BEGIN)
end

-- A lane of keys waits at the first of them, which lists it once all have room: unlike a search in the list of the lanes
-- of its group, that costs the same however many there are.
local function line_up(q, priority, group, lane, key)
  local at = lanes.place_in_line(q, { priority = priority, list = lanes.key(q, priority, group, lane) })
  redis.call('ZADD', q.prefix .. 'key_waits:' .. key, int(at), priority .. ':' .. group .. ':' .. lane)
  redis.call('ZADD', q.prefix .. 'held_keys', 'NX', int(q.now), key)
end

-- Lists the lanes of a batch, at a priority of a group (and of keys), that hold ids and that no claim has taken out.
local function list_lanes_at(q, batch, where)
  local priority, group, keys = string.match(where, '^(%d):([^|]*)(.*)$')
  for _, lane in ipairs({ batch .. keys, batch .. lanes.CANARY .. keys }) do
    local key = string.match(lane, '|([^|]+)')
    if lanes.runs(q, lane) and redis.call('EXISTS', lanes.key(q, priority, group, lane)) == 1
      and not lanes.waits_at(q, priority, group, lane) then
      if key then
        line_up(q, priority, group, lane, key)
      elseif not redis.call('LPOS', lanes.list_key(q, priority, group), lane) then
        lanes.list_lane(q, priority, group, lane, false)
      end
    end
  end
end

-- The same for many priorities and groups.
function lanes.list_lanes_of(q, batch, places)
  for _, where in ipairs(places) do list_lanes_at(q, batch, where) end
end

-- A batch that was held runs again: its first lanes are listed now, all others in steps (lib/jobs/listing.lua).
function lanes.list_lanes(q, batch)
  q.running_lanes[batch], q.running_lanes[batch .. lanes.CANARY] = nil, nil
  local found = redis.call('SSCAN', q.prefix .. 'batch_lanes:' .. batch, '0', 'COUNT', lanes.LANES_A_STEP)
  lanes.list_lanes_of(q, batch, found[2])
  if found[1] ~= '0' then redis.call('HSET', q.prefix .. 'listing', batch, '0') end
end

-- Whether there may be something to claim: groups in a ring, lanes still to be listed.
function lanes.anything_ready(q)
  local ring = q.prefix .. 'ring:'
  return redis.call('EXISTS', ring .. 0, ring .. 1, ring .. 2, ring .. 3, q.prefix .. 'listing') > 0
end

-- One element at most: a wake-up means that there may be work, not how much.
function lanes.wake(q)
  if redis.call('EXISTS', q.prefix .. 'wake') == 0 then redis.call('LPUSH', q.prefix .. 'wake', '1') end
end

-- A group without a cap, pause or live jobs expires a day later.
lanes.GROUP_STAYS = 86400
function lanes.expire_group(q, group)
  local key = lanes.group_key(q, group)
  local f = redis.call('HMGET', key, 'max_concurrent', 'paused', 'live')
  if not f[1] and not f[2] and tonumber(f[3] or 0) == 0 then redis.call('EXPIRE', key, lanes.GROUP_STAYS) end
end

-- Brings back a group that left the ring because nothing of it could be claimed.
function lanes.readmit(q, group)
  if redis.call('HDEL', lanes.group_key(q, group), 'capped') == 0 then return end
  for priority = 0, 3 do
    if redis.call('EXISTS', lanes.list_key(q, priority, group)) == 1 then lanes.ring_enter(q, priority, group) end
  end
  lanes.wake(q)
end

return lanes
