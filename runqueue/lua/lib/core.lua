-- What every transition shares: the account's keys, the clock, counters, records and lanes.
-- Prepended to each script. KEYS[1] = <prefix>meta and names the account's slot; ARGV[1] = now_us,
-- 0 meaning "ask the server", another value only when a test drives the clock.
local PREFIX = string.sub(KEYS[1], 1, -5)
local META, COUNTERS = KEYS[1], PREFIX .. 'counters'
local DAY = 86400000000
local NO_BATCH = '-'
local LIVE = { submitting = true, unconfirmed = true, running = true }
local ENDED = { completed = true, failed = true, canceled = true, dead = true }

-- Lua prints 1795602435580412 as 1.7956024355804e+15: every number becomes a string here.
local function int(n) return string.format('%.0f', n) end

-- There is no rollback: a wrong type must be met before the first write.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', expected a ' .. kind })
  end
end
expect(META, 'hash')
expect(COUNTERS, 'hash')

local NOW = tonumber(ARGV[1])
if NOW == 0 then
  local time = redis.call('TIME')
  NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])
end

-- Counters are gathered and written once a script: 100 items cost one HINCRBY a field, not 100.
local totals, batch_totals, group_live, freed = {}, {}, {}, false
local removed, ended = {}, {}
local function bump(map, field, n) map[field] = (map[field] or 0) + n end

-- Takes a member off a zset when the script ends, all members of one zset in one call.
local function remove_later(zset, member)
  local members = removed[zset]
  if not members then
    members = {}
    removed[zset] = members
  end
  members[#members + 1] = member
end

-- A script whose first write frees memory may go on in a full server (what has ended must be
-- recorded); one that begins with a growing write is refused there, before anything is half done.
local function pass_when_full() redis.call('DEL', PREFIX .. 'nothing') end

local function job_key(id) return PREFIX .. 'job:' .. id end

local function read_job(id)
  local f = redis.call('HMGET', job_key(id), 'state', 'attempt', 'priority', 'group', 'batch',
    'cancel', 'run_id', 'process', 'slot', 'started', 'deadline', 'runs')
  if not f[1] then return nil end
  return { id = id, state = f[1], attempt = tonumber(f[2] or 0), priority = f[3] or '2',
    group = f[4] or 'default', batch = f[5] or NO_BATCH, cancel = f[6], run_id = f[7],
    process = f[8], slot = f[9], started = f[10], deadline = f[11], runs = tonumber(f[12] or 0) }
end

-- Counts `n` jobs that begin in a state.
local function count_new(job, state, n)
  bump(totals, state .. ':' .. job.priority, n)
  if job.batch ~= NO_BATCH then
    batch_totals[job.batch] = batch_totals[job.batch] or {}
    bump(batch_totals[job.batch], 'count:' .. state, n)
  end
end

local function free_slot(job)
  bump(totals, 'live', -1)
  bump(group_live, job.group, -1)
  freed = true
end

-- Counts a job's change of state; the record itself is written by the caller, in one HSET.
local function count_state(job, state)
  bump(totals, job.state .. ':' .. job.priority, -1)
  bump(totals, state .. ':' .. job.priority, 1)
  if job.batch ~= NO_BATCH then
    local counts = batch_totals[job.batch] or {}
    bump(counts, 'count:' .. job.state, -1)
    bump(counts, 'count:' .. state, 1)
    batch_totals[job.batch] = counts
  end
  local was_live = LIVE[job.state] and job.slot ~= '0'
  if LIVE[state] and not was_live then
    bump(totals, 'live', 1)
    bump(group_live, job.group, 1)
  elseif was_live and not LIVE[state] then
    free_slot(job)
  end
  job.state = state
end

-- Runs a command on a list of any length: `unpack` takes 1,000 without harm.
local function in_parts(command, key, list)
  for first = 1, #list, 1000 do
    redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
end

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

-- A batch runs once it is sealed and while nobody holds it; read once a script.
local batches = {}
local function batch_runs(batch)
  if batch == NO_BATCH then return true end
  if batches[batch] == nil then
    local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch, 'sealed', 'held')
    batches[batch] = f[1] == '1' and not f[2]
  end
  return batches[batch]
end

-- A group enters the ring at the larger of the ring's first virtual time and its own last one:
-- it neither catches up on turns it slept through nor jumps the line by leaving and coming back.
-- An empty ring remembers the time of the last that left it, or a newcomer would begin at 0 and
-- keep the others waiting for as many turns as they ever had.
local function ring_enter(priority, group)
  local ring = PREFIX .. 'ring:' .. priority
  if redis.call('ZSCORE', ring, group) then return end
  local own = tonumber(redis.call('HGET', group_key(group), 'vt:' .. priority) or 0)
  local first = redis.call('ZRANGE', ring, 0, 0, 'WITHSCORES')[2]
    or redis.call('HGET', META, 'vt:' .. priority)
  redis.call('ZADD', ring, int(math.max(own, tonumber(first or 0))), group)
end

local function ring_leave(priority, group, virtual)
  redis.call('ZREM', PREFIX .. 'ring:' .. priority, group)
  redis.call('HSET', group_key(group), 'vt:' .. priority, virtual)
  redis.call('HSET', META, 'vt:' .. priority, virtual)
end

-- A lane stands in its group's list exactly while it holds ids and its batch runs.
local function list_lane(priority, group, batch, at_head)
  redis.call(at_head and 'LPUSH' or 'RPUSH', lanes_key(priority, group), batch)
  ring_enter(priority, group)
end

local function push(priority, group, batch, ids, at_head)
  local lane = lane_key(priority, group, batch)
  in_parts(at_head and 'LPUSH' or 'RPUSH', lane, ids)
  if redis.call('LLEN', lane) == #ids and batch_runs(batch) then list_lane(priority, group, batch, at_head) end
end

-- Removes the lanes of a batch that no claim will take from any more.
local function drop_lanes(batch)
  for _, lane in ipairs(redis.call('SMEMBERS', PREFIX .. 'batch_lanes:' .. batch)) do
    local priority, group = string.match(lane, '^(%d):(.*)$')
    redis.call('DEL', lane_key(priority, group, batch))
    redis.call('LREM', lanes_key(priority, group), 0, batch)
  end
end

-- How many jobs a batch has: those that another upload took over (`moved`) are not its own any more.
local function batch_size(batch)
  return redis.call('LLEN', PREFIX .. 'batch_jobs:' .. batch)
    - tonumber(redis.call('HGET', PREFIX .. 'batch:' .. batch, 'moved') or 0)
end

local function anything_ready()
  for priority = 0, 3 do
    if redis.call('EXISTS', PREFIX .. 'ring:' .. priority) == 1 then return true end
  end
  return false
end

-- One element at most: a wake-up says that there may be work, not how much.
local function wake()
  if redis.call('EXISTS', PREFIX .. 'wake') == 0 then redis.call('LPUSH', PREFIX .. 'wake', '1') end
end

-- Ends a job's life: `fields` are further record fields. Retention walks the day's list later.
local function end_job(job, state, fields)
  if job.process or job.state == 'scheduled' then
    redis.call('HDEL', job_key(job.id), 'process', 'run_at')
  end
  if job.deadline then remove_later('deadlines', job.id) end
  count_state(job, state)
  bump(totals, 'ended:' .. state, 1)
  redis.call('HSET', job_key(job.id), 'state', state, 'ended', int(NOW), unpack(fields))
  ended[#ended + 1] = job.id
end

-- Ends a job that has no run: a cancel that was asked for comes first; one whose time was up is dead.
local function end_without_run(job, reason)
  if job.cancel == 'asked' then
    end_job(job, 'canceled', { 'reason', 'canceled before a run of it existed' })
  else
    end_job(job, 'dead', { 'reason', job.cancel or reason })
  end
end

-- One that gave its slot back stands in `parked`; its record forgets that with the state.
local function no_longer_unconfirmed(job)
  if job.slot == '0' then
    remove_later('parked', job.id)
    redis.call('HDEL', job_key(job.id), 'slot')
  else
    remove_later('unconfirmed', job.id)
  end
end

-- True while the job still stands at that attempt, its outcome open; it is off the claims then.
local function may_leave(job, attempt)
  if job.attempt ~= tonumber(attempt) then return false end
  if job.state == 'submitting' then
    remove_later('claims:' .. (job.process or ''), job.id)
  elseif job.state == 'unconfirmed' then
    no_longer_unconfirmed(job)
  else
    return false
  end
  return true
end

local function add_stray(run_id, job_id, attempt, why)
  local told = job_id .. ' ' .. attempt .. ' ' .. int(NOW) .. ' ' .. why
  if redis.call('HSETNX', PREFIX .. 'strays', run_id, told) == 1 then bump(totals, 'strays', 1) end
  redis.call('HSETNX', PREFIX .. 'stray_jobs', job_id, run_id)
end

-- Without a cap on runs a freed slot is no news to anybody.
local function slots_are_scarce()
  local cap = redis.call('HMGET', PREFIX .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs')
  return tonumber(cap[1] or cap[2] or 0) > 0
end

-- The last act of every script that changed a state.
local function save()
  for zset, members in pairs(removed) do in_parts('ZREM', PREFIX .. zset, members) end
  in_parts('RPUSH', PREFIX .. 'ended:' .. int(math.floor(NOW / DAY)), ended)
  for field, n in pairs(totals) do
    if n ~= 0 then redis.call('HINCRBY', COUNTERS, field, n) end
  end
  for batch, counts in pairs(batch_totals) do
    for field, n in pairs(counts) do
      if n ~= 0 then redis.call('HINCRBY', PREFIX .. 'batch:' .. batch, field, n) end
    end
  end
  for group, n in pairs(group_live) do
    local live = redis.call('HINCRBY', group_key(group), 'live', n)
    -- A group that nobody gave a cap and that has nothing live is garbage a day later.
    if n > 0 and live == n then
      redis.call('PERSIST', group_key(group))
    elseif live == 0 and redis.call('HEXISTS', group_key(group), 'cap') == 0 then
      redis.call('EXPIRE', group_key(group), 86400)
    end
    -- A group that left the ring at its cap comes back in the script that frees a place.
    if n < 0 and redis.call('HDEL', group_key(group), 'capped') == 1 then
      for priority = 0, 3 do
        if redis.call('EXISTS', lanes_key(priority, group)) == 1 then ring_enter(priority, group) end
      end
      wake()
    end
  end
  if freed and slots_are_scarce() and anything_ready() then wake() end
end
