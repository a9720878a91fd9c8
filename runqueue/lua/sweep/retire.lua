-- use: job_record orphans jobs
-- Removes records whose retention is over: the record, its body, its result, its run's entry; and orphan runs.
-- ARGV  now_us, limit.   Reply: how many list entries were read (the limit = call again)
-- While more than the limit is due, `retire_left` of meta has the tick ask for the next pass at once: a queue whose
-- jobs end faster than a pass in half a minute removes them would grow for good.
-- An entry removes its job only if that is over and its end is due: a replayed job has a later entry.
if clock_is_stale(q) then return 0 end
local limit = tonumber(q.args[2])
local day, looked = math.floor((q.now - RETENTION) / DAY), 0
local first = tonumber(redis.call('HGET', q.meta, 'retired_day') or day - 400)

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
    batch = f[4] or NO_BATCH, priority = f[5] or '2', webhook_route = f[6], delivery = f[7] }
end
local function remove(entry)
  if entry.owner then
    orphans.forget(q, entry.orphan, entry.owner)
  elseif entry.orphan and is_left(entry.orphan) then
    redis.call('HDEL', job_record.runs_key(q, entry.orphan), entry.orphan)
  elseif entry.at > 0 then
    jobs.remove_record(q, entry, true)
  end
end

while looked < limit and first <= day do
  local list = q.prefix .. 'ended:' .. int(first)
  local id = redis.call('LINDEX', list, 0)
  if not id then
    if first == day then break end
    first = first + 1
    redis.call('HSET', q.meta, 'retired_day', int(first))
  else
    local entry = read_entry(id)
    -- Entries are in the order of the ends: the first that is not due ends the walk.
    if entry.at > q.now - RETENTION and math.floor(entry.at / DAY) == first then break end
    redis.call('LPOP', list)
    looked = looked + 1
    if entry.at <= q.now - RETENTION then remove(entry) end
  end
end
if looked >= limit then
  redis.call('HSET', q.meta, 'retire_left', '1')
else
  redis.call('HDEL', q.meta, 'retire_left')
end
return looked
