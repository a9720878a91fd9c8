-- Accepts up to 1,000 jobs: (nothing) → scheduled | ready.
-- ARGV  now_us, batch ('-' none), then 7 a job: id, digest, priority (0-3), group,
--       run_at, deadline (each '' none, '<us>' absolute, '+<us>' from now), body
-- Reply { now_us, per job: 0 = new | { code, state, batch, created_us } } with code
--       1 = known (same body), 2 = conflict (another body), 3 = taken over from an unsealed batch
-- Error NOBATCH, SEALED. Nothing is written then.
local batch = ARGV[2]
local batch_key = PREFIX .. 'batch:' .. batch
local DUE, DEADLINES = PREFIX .. 'due', PREFIX .. 'deadlines'

local function moment(text)
  if text == '' then return nil end
  if string.sub(text, 1, 1) == '+' then return NOW + tonumber(string.sub(text, 2)) end
  return tonumber(text)
end

if batch ~= NO_BATCH then
  local sealed = redis.call('HGET', batch_key, 'sealed')
  if not sealed then return redis.error_reply('NOBATCH ' .. batch) end
  if sealed == '1' then return redis.error_reply('SEALED ' .. batch) end
end
expect(DUE, 'zset')
expect(DEADLINES, 'zset')
expect(PREFIX .. 'wake', 'list')

-- Read everything first: what is known stays as it is, and a wrong type stops us before a write.
local reply, fresh, seen = { int(NOW) }, {}, {}
for i = 3, #ARGV, 7 do
  local id = ARGV[i]
  local f = redis.call('HMGET', job_key(id), 'digest', 'state', 'batch', 'created', 'priority', 'group')
  local known, code = seen[id], 1
  if f[1] then
    known = { digest = f[1], state = f[2], batch = f[3] or NO_BATCH, created = f[4] }
  end
  if known and known.digest ~= ARGV[i + 1] then
    code = 2
  elseif known and not seen[id] and batch ~= NO_BATCH and known.batch ~= batch
    and (known.state == 'ready' or known.state == 'scheduled')
    and redis.call('HGET', PREFIX .. 'batch:' .. known.batch, 'sealed') == '0' then
    code = 3
    fresh[#fresh + 1] = { at = i, old = { state = known.state, batch = known.batch,
      priority = f[5] or '2', group = f[6] or 'default' } }
  elseif not known then
    fresh[#fresh + 1] = { at = i }
    seen[id] = { digest = ARGV[i + 1], state = 'ready', batch = batch, created = int(NOW) }
  end
  if known then
    reply[#reply + 1] = { code, known.state, known.batch, known.created }
  else
    reply[#reply + 1] = 0
  end
end

local lanes, order = {}, {}
local function into_lane(priority, group, id)
  local name = priority .. ':' .. group
  if not lanes[name] then
    lanes[name] = { priority = priority, group = group, ids = {} }
    order[#order + 1] = name
    expect(lane_key(priority, group, batch), 'list')
    expect(lanes_key(priority, group), 'list')
    expect(PREFIX .. 'ring:' .. priority, 'zset')
    expect(group_key(group), 'hash')
  end
  local ids = lanes[name].ids
  ids[#ids + 1] = id
end
for _, item in ipairs(fresh) do
  local at = item.at
  item.run_at, item.deadline = moment(ARGV[at + 4]), moment(ARGV[at + 5])
  item.state = (item.run_at and item.run_at > NOW) and 'scheduled' or 'ready'
  if item.state == 'ready' then into_lane(ARGV[at + 2], ARGV[at + 3], ARGV[at]) end
end

if #fresh == 0 then return reply end
-- The first write is one that a full server refuses, so that OOM leaves nothing half done.
redis.call('HINCRBY', COUNTERS, 'enqueued', #fresh)
for _, item in ipairs(fresh) do
  local at = item.at
  local id, priority, group = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  local fields = { 'state', item.state, 'digest', ARGV[at + 1], 'created', int(NOW) }
  local function add(name, value) fields[#fields + 1] = name; fields[#fields + 1] = value end
  if priority ~= '2' then add('priority', priority) end
  if group ~= 'default' then add('group', group) end
  if batch ~= NO_BATCH then add('batch', batch) end
  if item.deadline then
    add('deadline', int(item.deadline))
    redis.call('ZADD', DEADLINES, int(item.deadline), id)
  end
  if item.state == 'scheduled' then
    add('run_at', int(item.run_at))
    redis.call('ZADD', DUE, int(item.run_at), id)
  end
  if item.old then
    -- The old lane keeps the id; a claim skips it because its batch is not the lane's.
    local old = item.old
    bump(totals, old.state .. ':' .. old.priority, -1)
    batch_totals[old.batch] = batch_totals[old.batch] or {}
    bump(batch_totals[old.batch], 'count:' .. old.state, -1)
    redis.call('DEL', job_key(id))
    if item.state == 'ready' then redis.call('ZREM', DUE, id) end
    if not item.deadline then redis.call('ZREM', DEADLINES, id) end
  end
  redis.call('HSET', job_key(id), unpack(fields))
  redis.call('SET', PREFIX .. 'body:' .. id, ARGV[at + 6])
  count_state({ priority = priority, group = group, batch = batch }, item.state)
  if batch ~= NO_BATCH then redis.call('RPUSH', PREFIX .. 'batch_jobs:' .. batch, id) end
end
for _, name in ipairs(order) do
  local lane = lanes[name]
  push(lane.priority, lane.group, batch, lane.ids, false)
  if batch ~= NO_BATCH then redis.call('SADD', PREFIX .. 'batch_lanes:' .. batch, name) end
end
save()
if #order > 0 and batch_runs(batch) then wake() end
return reply
