-- What every transition shares: the account's keys, the clock, counters, records and lanes.
-- Prepended to each script. KEYS[1] = <prefix>meta and names the account's slot; ARGV[1] = now_us,
-- 0 meaning "ask the server", another value only when a test drives the clock.
local PREFIX = string.sub(KEYS[1], 1, -5)
local META, COUNTERS = KEYS[1], PREFIX .. 'counters'
local STRAY_JOBS, STRAY_LOOKS = PREFIX .. 'stray_jobs', PREFIX .. 'stray_looks'
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

-- What the server's clock lost or gained by being set is made up for: see clock.lua.
local NOW = tonumber(ARGV[1])
if NOW == 0 then
  local time = redis.call('TIME')
  NOW = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(redis.call('HGET', META, 'clock_lost') or 0)
end

-- The clock is looked at with every tick, twice a second. When nobody has looked for a while it may have been
-- set meanwhile: what decides by time waits for the next tick.
local function clock_is_stale()
  local clock = ARGV[1] == '0' and redis.call('HGET', META, 'clock')
  return clock and math.abs(NOW - tonumber(clock)) > 5000000
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
    'cancel', 'run_id', 'process', 'slot', 'started', 'deadline', 'runs', 'on_unconfirmed', 'deaths', 'via',
    'delivery', 'canary')
  if not f[1] then return nil end
  return { id = id, state = f[1], attempt = tonumber(f[2] or 0), priority = f[3] or '2',
    group = f[4] or 'default', batch = f[5] or NO_BATCH, cancel = f[6], run_id = f[7],
    process = f[8], slot = f[9], started = f[10], deadline = f[11], runs = tonumber(f[12] or 0),
    on_unconfirmed = f[13] or 'auto', deaths = tonumber(f[14] or 0), via = f[15], delivery = f[16],
    canary = f[17] }
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
  if job.state == 'ready' and (job.deaths or 0) >= 2 then remove_later('suspects', job.id) end
  bump(totals, job.state .. ':' .. job.priority, -1)
  bump(totals, state .. ':' .. job.priority, 1)
  if job.batch ~= NO_BATCH then
    local counts = batch_totals[job.batch] or {}
    bump(counts, 'count:' .. job.state, -1)
    bump(counts, 'count:' .. state, 1)
    if job.canary then
      bump(counts, 'canary_ended', (ENDED[state] and 1 or 0) - (ENDED[job.state] and 1 or 0))
      bump(counts, 'canary_completed', (state == 'completed' and 1 or 0))
    end
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

local function runs_key(run_id)
  return PREFIX .. 'runs:' .. string.sub(redis.sha1hex(run_id), 1, 4)
end

-- A run that is over stays its job's, although the job gets another: it is never taken for a later one.
local function keep_earlier(job)
  if not job.run_id then return end
  local earlier = redis.call('HGET', job_key(job.id), 'earlier')
  redis.call('HSET', job_key(job.id), 'earlier', (earlier and earlier .. ' ' or '') .. job.run_id,
    'ran', int(job.attempt))
end

-- A job's state is read together with its batch's flag: canceling a million jobs sets one field.
local canceled_batches = {}
local function batch_canceled(batch)
  if canceled_batches[batch] == nil then
    canceled_batches[batch] = redis.call('HGET', PREFIX .. 'batch:' .. batch, 'held') == 'canceled'
  end
  return canceled_batches[batch]
end

-- The canary of a batch, its first jobs, waits in lanes of its own, named '<batch>+': they are claimed while
-- the others are held for what becomes of them.
local CANARY = '+'
local function lane_of(job)
  return (job.canary and job.batch ~= NO_BATCH) and job.batch .. CANARY or job.batch
end
local function is_canary(lane) return string.sub(lane, -1) == CANARY end
local function batch_of(lane) return is_canary(lane) and string.sub(lane, 1, -2) or lane end

-- A batch's lane runs once it is sealed and while nobody holds it; read once a script.
local running_lanes = {}
local function lane_runs(lane)
  if lane == NO_BATCH then return true end
  if running_lanes[lane] == nil then
    local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch_of(lane), 'sealed', 'held')
    running_lanes[lane] = f[1] == '1' and (not f[2] or (f[2] == 'canary' and is_canary(lane)))
  end
  return running_lanes[lane]
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
local function list_lane(priority, group, lane, at_head)
  redis.call(at_head and 'LPUSH' or 'RPUSH', lanes_key(priority, group), lane)
  ring_enter(priority, group)
end

local function push(priority, group, lane, ids, at_head)
  local key = lane_key(priority, group, lane)
  in_parts(at_head and 'LPUSH' or 'RPUSH', key, ids)
  if redis.call('LLEN', key) == #ids and lane_runs(lane) then list_lane(priority, group, lane, at_head) end
end

-- Calls back with each lane that a batch ever used: priority, group, the lane's name.
local function each_lane(batch, visit)
  for _, where in ipairs(redis.call('SMEMBERS', PREFIX .. 'batch_lanes:' .. batch)) do
    local priority, group = string.match(where, '^(%d):(.*)$')
    visit(priority, group, batch)
    visit(priority, group, batch .. CANARY)
  end
end

-- Removes the lanes of a batch that no claim will take from any more.
local function drop_lanes(batch)
  each_lane(batch, function(priority, group, lane)
    redis.call('UNLINK', lane_key(priority, group, lane)) -- a million ids take a while to free
    redis.call('LREM', lanes_key(priority, group), 0, lane)
  end)
end

-- A batch that was held runs again: lists those of its lanes that hold ids and that no claim has taken out.
local function list_lanes(batch)
  running_lanes[batch], running_lanes[batch .. CANARY] = nil, nil
  each_lane(batch, function(priority, group, lane)
    if redis.call('EXISTS', lane_key(priority, group, lane)) == 1 and lane_runs(lane)
      and not redis.call('LPOS', lanes_key(priority, group), lane) then
      list_lane(priority, group, lane, false)
    end
  end)
end

-- How many jobs a batch has: those that another upload took over (`moved`) are not its own any more.
local function batch_size(batch)
  return redis.call('LLEN', PREFIX .. 'batch_jobs:' .. batch)
    - tonumber(redis.call('HGET', PREFIX .. 'batch:' .. batch, 'moved') or 0)
end

-- Where a job stands whose webhook is `pending`, `gave_up` or `unknown`; one that was delivered stands nowhere.
-- `via` says how the webhook travels: relay (to our receiver, which sends it on), watch (to the user, by Skyvern;
-- whether it arrives is watched), push (to our receiver, and nobody else wants it).
local function delivery_index(job)
  if job.delivery == 'pending' then return job.via == 'relay' and 'relays' or 'watches' end
  return job.delivery ~= 'delivered' and job.delivery or nil
end

local function expect_deliveries()
  for _, index in ipairs({ 'relays', 'watches', 'gave_up', 'unknown' }) do expect(PREFIX .. index, 'zset') end
  expect(PREFIX .. 'wake:webhooks', 'list')
end

-- Says that a webhook may be relayed now. One element at most, as in `wake`.
local function wake_for_webhooks()
  if redis.call('EXISTS', PREFIX .. 'wake:webhooks') == 1 then return end
  redis.call('LPUSH', PREFIX .. 'wake:webhooks', '1')
  redis.call('EXPIRE', PREFIX .. 'wake:webhooks', 60)
end

-- True for a job whose webhook Skyvern sends to our receiver.
local function comes_to_us(job) return job.via == 'relay' or job.via == 'push' end

local function count_delivery(job, delivery)
  if job.delivery then bump(totals, 'delivery:' .. job.delivery, -1) end
  if delivery then bump(totals, 'delivery:' .. delivery, 1) end
  job.delivery = delivery
end

-- The webhook of a run that is not the job's any more is not delivered any more.
local function drop_delivery(job)
  if not job.delivery then return end
  local index = delivery_index(job)
  if index then remove_later(index, job.id) end
  count_delivery(job, nil)
  redis.call('DEL', PREFIX .. 'webhook:' .. job.id)
end

-- Removes a job whose end is long over, or that nobody wants any more: record, body, result, entries.
local function remove_record(job)
  local earlier = redis.call('HGET', job_key(job.id), 'earlier') or ''
  drop_delivery(job)
  redis.call('DEL', job_key(job.id), PREFIX .. 'body:' .. job.id, PREFIX .. 'result:' .. job.id)
  bump(totals, job.state .. ':' .. job.priority, -1)
  if job.run_id then redis.call('HDEL', runs_key(job.run_id), job.run_id) end
  for run_id in string.gmatch(earlier, '%S+') do redis.call('HDEL', runs_key(run_id), run_id) end
  if job.state == 'dead' then
    remove_later('dead', job.id)
  else
    redis.call('HDEL', STRAY_JOBS, job.id) -- a later life of its key takes none of its strays
  end
  local batch = job.batch
  if batch ~= NO_BATCH and redis.call('HINCRBY', PREFIX .. 'batch:' .. batch, 'retired', 1) >= batch_size(batch) then
    drop_lanes(batch)
    redis.call('DEL', PREFIX .. 'batch:' .. batch, PREFIX .. 'batch_jobs:' .. batch, PREFIX .. 'batch_lanes:' .. batch)
    redis.call('ZREM', PREFIX .. 'batches', batch)
  end
end

local function anything_ready()
  for priority = 0, 3 do
    if redis.call('EXISTS', PREFIX .. 'ring:' .. priority) == 1 then return true end
  end
  return redis.call('ZCOUNT', PREFIX .. 'suspects', '-inf', int(NOW)) > 0
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
  if state == 'dead' then redis.call('ZADD', PREFIX .. 'dead', int(NOW), job.id) end
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

-- Nobody knows whether a run of the job exists: it is looked for from now on. It keeps its slot.
-- Its run cannot be older than the claim (`claimed`).
local FIRST_LOOK = 2000000
local function to_unconfirmed(job, reason)
  local claimed = redis.call('ZSCORE', PREFIX .. 'claims:' .. (job.process or ''), job.id)
  count_state(job, 'unconfirmed')
  redis.call('HSET', job_key(job.id), 'state', 'unconfirmed', 'reason', reason, 'claimed', claimed or int(NOW))
  redis.call('HDEL', job_key(job.id), 'process')
  redis.call('ZADD', PREFIX .. 'unconfirmed', int(NOW), job.id)
  redis.call('ZADD', PREFIX .. 'reconcile', int(NOW + FIRST_LOOK), job.id)
end

-- Gives the slot of an unconfirmed job back; it stays unconfirmed, for a late answer or a person.
local function park(job, since)
  redis.call('ZREM', PREFIX .. 'unconfirmed', job.id)
  redis.call('ZADD', PREFIX .. 'parked', since, job.id)
  redis.call('HSET', job_key(job.id), 'slot', '0')
  free_slot(job)
end

-- One that gave its slot back stands in `parked`; its record forgets that with the state.
local function no_longer_unconfirmed(job)
  remove_later('reconcile', job.id)
  redis.call('HDEL', job_key(job.id), 'negatives', 'negative_at', 'claimed')
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

-- A job that surely has no run goes back to its lane, unless it is not wanted any more. One that was
-- being submitted when its process died, twice, waits apart (see claim.lua); a third death is the last.
local SUSPECT, POISON = 2, 3
local function ready_again(job, at_head)
  if job.cancel then
    end_without_run(job)
  elseif job.deaths >= POISON then
    end_job(job, 'dead', { 'reason', 'poison: ' .. int(job.deaths) .. ' workers died while they submitted it' })
    bump(totals, 'poisoned', 1)
  elseif job.deaths == SUSPECT then
    redis.call('HDEL', job_key(job.id), 'process', 'reason')
    count_state(job, 'ready')
    redis.call('HSET', job_key(job.id), 'state', 'ready')
    redis.call('ZADD', PREFIX .. 'suspects', int(NOW), job.id)
  else
    redis.call('HDEL', job_key(job.id), 'process', 'reason')
    count_state(job, 'ready')
    redis.call('HSET', job_key(job.id), 'state', 'ready')
    push(job.priority, job.group, lane_of(job), { job.id }, at_head)
  end
end

-- A job may have left several runs without an owner: `stray_jobs` lists them, the first one first. They run on
-- the account's plan like others: until a look says that one is over, it takes a slot (`stray_looks`).
local function stray_is_over(run_id)
  remove_later('stray_looks', run_id)
  freed = true
end

local function forget_stray(run_id, job_id)
  redis.call('HDEL', PREFIX .. 'strays', run_id)
  remove_later('cancels', 'stray ' .. run_id)
  stray_is_over(run_id)
  local left = {}
  for other in string.gmatch(redis.call('HGET', STRAY_JOBS, job_id) or '', '%S+') do
    if other ~= run_id then left[#left + 1] = other end
  end
  if #left > 0 then
    redis.call('HSET', STRAY_JOBS, job_id, table.concat(left, ' '))
  else
    redis.call('HDEL', STRAY_JOBS, job_id)
  end
end

-- The job's request as one word; '-' if there is no record of it.
local function request_of(job_id)
  local digest = redis.call('HGET', job_key(job_id), 'digest')
  return digest and string.sub(redis.sha1hex(digest), 1, 16) or '-'
end

-- `strays` holds '<job> <attempt> <since_us> <its request> <why>'.
local function add_stray(run_id, job_id, attempt, why)
  local told = table.concat({ job_id, attempt, int(NOW), request_of(job_id), why }, ' ')
  if redis.call('HSETNX', PREFIX .. 'strays', run_id, told) == 0 then return false end
  local before = redis.call('HGET', STRAY_JOBS, job_id)
  redis.call('HSET', STRAY_JOBS, job_id, before and before .. ' ' .. run_id or run_id)
  bump(totals, 'strays', 1)
  ended[#ended + 1] = 'stray ' .. run_id -- it is shown for as long as a job that ended now
  return true
end

local function slots_taken()
  return tonumber(redis.call('HGET', COUNTERS, 'live') or 0) + redis.call('ZCARD', STRAY_LOOKS)
end

-- Ends a hold, but for what the server asked to wait.
local function end_hold()
  local asked = redis.call('HMGET', META, 'asked_until', 'asked_reason')
  redis.call('HDEL', META, 'hold_until', 'hold_step', 'hold_probe', 'probing', 'probe')
  if asked[1] and tonumber(asked[1]) > NOW then
    redis.call('HSET', META, 'hold_until', asked[1], 'hold_reason', asked[2] or '')
  else
    redis.call('HDEL', META, 'hold_reason', 'asked_until', 'asked_reason')
  end
end

-- True if this is the one job that an ended hold let through, and its minute to find out is not over.
local function is_probe(job_id)
  local f = redis.call('HMGET', META, 'hold_until', 'probing', 'probe')
  return f[3] == job_id and f[1] == f[2] and tonumber(f[1] or 0) > NOW
end

-- Many failures in a row are the account's or the server's trouble, not the jobs'. From `most` on,
-- submissions are held, and one job is let through when the hold ends, to see; it doubles if that fails.
-- Returns whether a hold was set.
local function count_trouble(name, n, most, first_us, longest_us, reason)
  if n == 0 then return false end
  local row = redis.call('HINCRBY', META, name, n)
  if row < most then return false end
  local f = redis.call('HMGET', META, 'hold_until', 'hold_person', 'hold_step', 'probing', 'asked_until')
  -- The minute that a probe is given is no hold: its failure sets one.
  if f[2] or (tonumber(f[1] or 0) > NOW and f[1] ~= f[4]) then return false end
  local step = math.min(math.max(tonumber(f[3] or 0) * 2, first_us), longest_us)
  redis.call('HDEL', META, 'probing')
  redis.call('HSET', META, 'hold_until', int(math.max(NOW + step, tonumber(f[5] or 0))), 'hold_step', int(step),
    'hold_probe', '1', 'hold_reason', int(row) .. ' in a row: ' .. reason)
  return true
end

-- Without a cap on runs a freed slot is no news to anybody.
local function slots_are_scarce()
  local cap = redis.call('HMGET', PREFIX .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs')
  return tonumber(cap[1] or cap[2] or 0) > 0
end

-- A group that nobody gave a cap, or paused, and that has nothing live is garbage a day later.
local function expire_group(group)
  local f = redis.call('HMGET', group_key(group), 'cap', 'paused')
  if not f[1] and not f[2] then redis.call('EXPIRE', group_key(group), 86400) end
end

-- A group that left the ring, since nothing of it could be claimed, comes back.
local function readmit(group)
  if redis.call('HDEL', group_key(group), 'capped') == 0 then return end
  for priority = 0, 3 do
    if redis.call('EXISTS', lanes_key(priority, group)) == 1 then ring_enter(priority, group) end
  end
  wake()
end

-- What the ends of its jobs mean for a batch: its rules may hold it or let it go on, and it may be over.
local STATES = { 'scheduled', 'ready', 'submitting', 'unconfirmed', 'running', 'completed', 'failed', 'canceled', 'dead' }
local RULES = { 'sealed', 'held', 'finished_at', 'abort', 'abort_after', 'canary', 'canary_ratio', 'canary_jobs',
  'canary_ended', 'canary_completed' }
local BATCH_FIELDS = { unpack(RULES) }
for _, state in ipairs(STATES) do BATCH_FIELDS[#BATCH_FIELDS + 1] = 'count:' .. state end

local function read_batch(batch)
  local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch, unpack(BATCH_FIELDS))
  local read = { live = 0, open = 0, ended = 0 }
  for i, name in ipairs(RULES) do read[name] = f[i] end
  for i, state in ipairs(STATES) do
    local n = tonumber(f[#RULES + i] or 0)
    read['count:' .. state] = n
    if LIVE[state] then read.live = read.live + n end
    if ENDED[state] then read.ended = read.ended + n else read.open = read.open + n end
  end
  return read
end

local function abort_batch(batch, read, why)
  redis.call('HSET', PREFIX .. 'batch:' .. batch, 'held', 'aborted', 'why', why)
  read.held = 'aborted'
end

-- A share that is met exactly is met: 0.1 * 30 is a little more than 3.
local function is_share(n, ratio, of) return n + 0.000001 >= tonumber(ratio) * of end

local function apply_rules(batch, read)
  if read.sealed ~= '1' or read.held == 'canceled' or read.held == 'aborted' then return end
  local bad, canary = read['count:failed'] + read['count:dead'], tonumber(read.canary_jobs or 0)
  if read.abort and read.ended >= tonumber(read.abort_after) and bad > 0 and is_share(bad, read.abort, read.ended) then
    abort_batch(batch, read, int(bad) .. ' of ' .. int(read.ended) .. ' jobs that ended failed or are dead')
  elseif read.canary and tonumber(read.canary_ended or 0) >= canary then
    local completed = tonumber(read.canary_completed or 0)
    if is_share(completed, read.canary_ratio, canary) then
      redis.call('HDEL', PREFIX .. 'batch:' .. batch, 'canary')
      if read.held ~= 'canary' then return end -- paused: it goes on with all of it once that ends
      redis.call('HDEL', PREFIX .. 'batch:' .. batch, 'held')
      read.held = false
      list_lanes(batch)
      if anything_ready() then wake() end
    else
      abort_batch(batch, read, int(completed) .. ' of the first ' .. int(canary) .. ' jobs completed')
    end
  end
end

-- A batch is over with its last job; one that was aborted, with its last run.
local function judge(batch)
  local read = read_batch(batch)
  apply_rules(batch, read)
  local is_whole = read.sealed == '1' or (read.sealed and read.held == 'canceled')
  local is_over = is_whole and (read.open == 0 or (read.held == 'aborted' and read.live == 0))
  if is_over and not read.finished_at then
    redis.call('HSET', PREFIX .. 'batch:' .. batch, 'finished_at', int(NOW))
  elseif read.finished_at and not is_over then
    redis.call('HDEL', PREFIX .. 'batch:' .. batch, 'finished_at')
  end
end

-- A job that ended, lives again or is another batch's now may decide on its batch, and so may a run that is over.
local function decides(field, n)
  local state = string.sub(field, 7)
  return n ~= 0 and (field == 'moved' or ENDED[state] or (LIVE[state] and n < 0))
end

-- The last act of every script that changed a state.
local function save()
  for zset, members in pairs(removed) do in_parts('ZREM', PREFIX .. zset, members) end
  in_parts('RPUSH', PREFIX .. 'ended:' .. int(math.floor(NOW / DAY)), ended)
  for field, n in pairs(totals) do
    if n ~= 0 then redis.call('HINCRBY', COUNTERS, field, n) end
  end
  for batch, counts in pairs(batch_totals) do
    local is_decided = false
    for field, n in pairs(counts) do
      if n ~= 0 then redis.call('HINCRBY', PREFIX .. 'batch:' .. batch, field, n) end
      is_decided = is_decided or decides(field, n)
    end
    if is_decided then judge(batch) end
  end
  for group, n in pairs(group_live) do
    local live = redis.call('HINCRBY', group_key(group), 'live', n)
    if n > 0 and live == n then
      redis.call('PERSIST', group_key(group))
    elseif live == 0 then
      expire_group(group)
    end
    -- A group that left the ring at its cap comes back in the script that frees a place.
    if n < 0 and redis.call('HEXISTS', group_key(group), 'capped') == 1
      and redis.call('HEXISTS', group_key(group), 'paused') == 0 then
      readmit(group)
    end
  end
  if freed and slots_are_scarce() and anything_ready() then wake() end
  -- Who waits is told (see ends.py): last, when nothing can fail any more; a user who may not publish fails nothing.
  local jobs = {}
  for _, id in ipairs(ended) do
    if string.sub(id, 1, 6) ~= 'stray ' then jobs[#jobs + 1] = id end
  end
  for first = 1, #jobs, 1000 do
    redis.pcall('PUBLISH', PREFIX .. 'ended', table.concat(jobs, ' ', first, math.min(first + 999, #jobs)))
  end
end
