-- use: counters job_record orphans jobs retention archive
-- Removes records whose retention is over: the record, its body, its result, its run's entry; and orphan runs.
-- ARGV  now_us, limit.   Reply: how many list entries, and days of the shorter walks, were read (the limit = call again)
-- While more than the limit is due, `retire_left` of meta has the tick ask for the next pass at once: a queue whose
-- jobs end faster than a pass in half a minute removes them would grow for good.
-- There is a walk along the days' lists for each duration that a state of the account has (retention.lua). The longest
-- takes the entries off, and removes what is left. The shorter ones read them: `retire_walks` of meta has the durations
-- and where each walk stands, the longer first ('<durations>|<day>:<index> …'). They begin anew with other durations.
-- An entry removes its job only if that is over and its end is due: a replayed job has a later entry.
-- What an archive lacks waits for it, for a bounded time (archive.lua); it goes unarchived after that, and is counted.
-- A job that goes before RETENTION goes as a discarded one: nobody else is given its runs. It stays until then while
-- its webhook is not delivered.
if clock_is_stale(q) then return 0 end
local limit, looked = tonumber(q.args[2]), 0
local retained = retention.read(q)
local meta = redis.call('HMGET', q.meta, 'retired_day', 'retire_walks')
local last_day = math.floor((q.now - retained.longest) / DAY)
local first = tonumber(meta[1] or last_day - 400)
local walks, archived = {}, archive.reached(q)

local function list_of(day) return q.prefix .. 'ended:' .. int(day) end

-- True for a run whose job is gone, or that was an orphan run.
local function is_left(run_id)
  return string.sub(redis.call('HGET', job_record.runs_key(q, run_id), run_id) or '', 1, 1) == '~'
end

-- The job or run of an entry, and when it ended; 0 = it is not over.
local function read_entry(id)
  local orphan = string.match(id, '^orphan (.*)$')
  local owner, since = string.match(orphan and redis.call('HGET', q.prefix .. 'orphans', orphan) or '',
    '^(%S+) %d+ (%d+)')
  if owner then return { orphan = orphan, owner = owner, at = tonumber(since) } end
  local f = job_record.read_fields(q, id, job_record.RETIRED) or {}
  return { id = id, orphan = orphan, state = f[1], at = ENDED[f[1]] and tonumber(f[2]) or 0,
    run_id = f[3],
    batch = f[4] or NO_BATCH, priority = f[5] or '2', webhook_route = f[6], delivery = f[7],
    attempt = tonumber(f[8] or 0) }
end

-- Entries are in the order of the ends: the first that is not due ends the walk.
local function ends_walk(entry, day, duration)
  return entry.at > q.now - duration and math.floor(entry.at / DAY) == day
end

local function remove_due(entry, duration, is_lacking)
  local is_old = duration >= RETENTION
  if entry.at > q.now - duration or (retained[entry.state] or RETENTION) > duration then return end
  if entry.owner then
    orphans.forget(q, entry.orphan, entry.owner)
  elseif entry.orphan and is_left(entry.orphan) then
    redis.call('HDEL', job_record.runs_key(q, entry.orphan), entry.orphan)
  elseif entry.at > 0 and (is_old or entry.delivery ~= 'pending') then
    jobs.remove_record(q, entry, is_old)
    if archived and archive.forget(q, entry.id, is_lacking) then counters.bump(q.totals, 'archive:lost', 1) end
  end
end

local function walk_longest()
  while looked < limit and first <= last_day do
    local id = redis.call('LINDEX', list_of(first), 0)
    if not id then
      if first == last_day then return end
      first = first + 1
      redis.call('HSET', q.meta, 'retired_day', int(first))
    else
      local entry = read_entry(id)
      if ends_walk(entry, first, retained.longest) or archive.keeps(q, archived, first, 0, retained.longest) then
        return
      end
      local is_lacking = archive.lacks(archived, first, 0)
      redis.call('LPOP', list_of(first))
      archive.popped(q, archived, first)
      looked = looked + 1
      for _, walk in ipairs(walks) do
        if walk.day == first then walk.at = math.max(0, walk.at - 1) end
      end
      remove_due(entry, retained.longest, is_lacking)
    end
  end
end

local function walk_shorter(walk)
  if walk.day < first then walk.day, walk.at = first, 0 end
  local newest = math.floor((q.now - walk.duration) / DAY)
  while looked < limit and walk.day <= newest do
    local want = limit - looked
    local ids = redis.call('LRANGE', list_of(walk.day), walk.at, walk.at + want - 1)
    for _, id in ipairs(ids) do
      local entry = read_entry(id)
      if ends_walk(entry, walk.day, walk.duration)
        or archive.keeps(q, archived, walk.day, walk.at, walk.duration) then
        return
      end
      local is_lacking = archive.lacks(archived, walk.day, walk.at)
      walk.at, looked = walk.at + 1, looked + 1
      remove_due(entry, walk.duration, is_lacking)
    end
    if #ids < want then
      if walk.day == newest then return end
      walk.day, walk.at, looked = walk.day + 1, 0, looked + 1
    end
  end
end

local function save_walks()
  local positions = {}
  for i, walk in ipairs(walks) do positions[i] = int(walk.day) .. ':' .. int(walk.at) end
  redis.call('HSET', q.meta, 'retire_walks', retained.text .. '|' .. table.concat(positions, ' '))
end

for _, duration in ipairs(retention.shorter(retained)) do walks[#walks + 1] = { duration = duration } end
if walks[1] then
  local known, positions = string.match(meta[2] or '', '^([^|]*)|(.*)$')
  local next_position = string.gmatch(known == retained.text and positions or '', '(%d+):(%d+)')
  for _, walk in ipairs(walks) do
    local day, at = next_position()
    walk.day, walk.at = tonumber(day or first), tonumber(at or 0)
  end
  q.at_end = save_walks
elseif meta[2] then
  redis.call('HDEL', q.meta, 'retire_walks')
end
walk_longest()
for _, walk in ipairs(walks) do walk_shorter(walk) end
if looked >= limit then
  redis.call('HSET', q.meta, 'retire_left', '1')
else
  redis.call('HDEL', q.meta, 'retire_left')
end
return looked
