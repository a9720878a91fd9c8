-- use: counters lanes changes files jobs quotas intake
-- flags: refused-when-full
-- Accepts up to 1,000 jobs: (nothing) → scheduled | ready.
-- ARGV  now_us, batch ('-' = none), quota ('' = none, '<name> <jobs> <bytes>': so much may wait of the producer of that
--       name, 0 = any number), then 4 a job: id, digest, options, body
--       options = '' or a JSON object. Its texts are fields of the job's record, as they are: priority (0 to 3), group,
--       keys (key_limits.lua), files (files.lua), max_steps (budgets.lua), and others. run_at and deadline are
--       {"at": <us>}, or {"after": <us>} from now
-- Reply { now_us, per job: us after that at which a new one was made | { code, state, batch, created_us } } with code
--       1 = known (same body), 2 = conflict (another body, or a record that cannot be read), 3 = taken over from an unsealed batch,
--       4 = not stored: another job holds a file, and the state is its; it and the file follow
--       5 = not stored: a strict budget, whose scope and steps follow; the job has no max_steps, or more than these
-- Error NOBATCH, EXPIRED, SEALED (or canceled: its sweep may have passed), QUOTA <account> <name, '-' = the account's>
--       <jobs | bytes> <how many may wait>. No job is stored then.
local START, PER_JOB = 4, 4

-- The error of an upload that takes no more jobs; nil = it does, and so many jobs are left of its canary.
local function refused_by_batch(q, batch)
  local f = redis.call('HMGET', q.prefix .. 'batch:' .. batch, 'sealed', 'held', 'canary', 'canary_jobs')
  if not f[1] then return redis.error_reply('NOBATCH ' .. batch) end
  if f[1] == '0' and f[2] == 'expired' then return redis.error_reply('EXPIRED ' .. batch) end
  if f[1] == '1' or f[2] == 'canceled' then return redis.error_reply('SEALED ' .. batch) end
  return nil, tonumber(f[3] or 0) - tonumber(f[4] or 0)
end

local function over(q, whose, what, most, there, new)
  if most == 0 or there + new <= most then return nil end
  return 'QUOTA ' .. string.match(q.prefix, '{(.*)}') .. ' ' .. whose .. ' ' .. what .. ' ' .. int(most)
end

-- The error if more would wait than may, and the owner of the new jobs; nil = none. Retries, replays and jobs that go
-- back to their lane are not checked.
local function refused_by_quota(q, found)
  local most_jobs, most_bytes = quotas.read(q)
  local name, own_jobs, own_bytes = string.match(q.args[3], '^(%S+) (%d+) (%d+)$')
  if not name and most_jobs == 0 and most_bytes == 0 then return nil end
  local waiting, new_jobs, own_new, bytes = quotas.jobs_waiting(q), #found.fresh, #found.fresh, 0
  for _, i in ipairs(found.fresh) do bytes = bytes + #q.args[i + 3] end
  local own_bytes_new = bytes
  for _, job in pairs(found.old) do -- taken over: they count as waiting already
    local stored = redis.call('STRLEN', q.prefix .. 'body:' .. job.id)
    new_jobs = new_jobs - 1
    if job.quota_owner then bytes = bytes - stored end
    if name and job.quota_owner == name then own_new, own_bytes_new = own_new - 1, own_bytes_new - stored end
  end
  local sums = { 'bytes', 'jobs:' .. (name or ''), 'bytes:' .. (name or '') }
  local f = redis.call('HMGET', q.prefix .. 'quota_use', unpack(sums))
  local refusal = over(q, '-', 'jobs', most_jobs, waiting, new_jobs)
    or over(q, '-', 'bytes', most_bytes, tonumber(f[1] or 0), bytes)
    or (name and over(q, name, 'jobs', tonumber(own_jobs), tonumber(f[2] or 0), own_new))
    or (name and over(q, name, 'bytes', tonumber(own_bytes), tonumber(f[3] or 0), own_bytes_new))
  return refusal, name or '-'
end

-- A job of an unfinished upload is submitted again: the new batch takes it over. The old lane keeps its id; a claim
-- skips it there, because its batch is not the lane's. The old batch's list keeps it, too, and `batch_left` records
-- that: it may come back.
local function take_over(q, job)
  counters.bump(q.totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then counters.bump(q.group_load, job.group, -1) end
  q.batch_totals[job.batch] = q.batch_totals[job.batch] or {}
  counters.bump(q.batch_totals[job.batch], 'count:' .. job.state, -1)
  counters.bump(q.batch_totals[job.batch], 'moved', 1)
  redis.call('SADD', q.prefix .. 'batch_left:' .. job.batch, job.id)
  if job.canary then counters.bump(q.batch_totals[job.batch], 'canary_jobs', -1) end
  if job.state == 'scheduled' then redis.call('ZREM', q.prefix .. 'due', job.id) end
  if job.deadline then redis.call('ZREM', q.prefix .. 'deadlines', job.id) end
  counters.discharge(q, job)
  redis.call('DEL', job_key(q, job.id), q.prefix .. 'result:' .. job.id)
  for _, field in ipairs({ 'attempt', 'maybe_claimed_at', 'earlier', 'ran' }) do -- every attempt's marker is used once
    if job[field] then redis.call('HSET', job_key(q, job.id), field, job[field]) end
  end
end

local function moment(q, when) return when and (when.at or q.now + when.after) end

-- Writes a job's times; returns when it has to wait for; nil = it is ready.
local function with_times(q, id, options)
  local run_at, deadline = moment(q, options.run_at), moment(q, options.deadline)
  if deadline then
    redis.call('ZADD', q.prefix .. 'deadlines', int(deadline), id)
    redis.call('HSET', job_key(q, id), 'deadline', int(deadline))
  end
  local relative = (options.run_at and options.run_at.after and 'run_at ' or '')
    .. (options.deadline and options.deadline.after and 'deadline' or '')
  if relative ~= '' and note_relative(q) then redis.call('HSET', job_key(q, id), 'relative', relative) end
  if not run_at or (run_at <= q.now and not clock_is_stale(q)) then return nil end
  redis.call('ZADD', q.prefix .. 'due', int(run_at), id)
  redis.call('HSET', job_key(q, id), 'run_at', int(run_at))
  return run_at
end

-- Adds jobs to the batch's list; one that came back from another upload is in it already.
local function list_jobs(q, batch, ids)
  local left, new = q.prefix .. 'batch_left:' .. batch, ids
  if redis.call('EXISTS', left) == 1 then
    new = {}
    for _, id in ipairs(ids) do
      if redis.call('SREM', left, id) == 0 then new[#new + 1] = id end
    end
    counters.bump(counters.entry(q.batch_totals, batch), 'moved', #new - #ids)
  end
  in_parts('RPUSH', q.prefix .. 'batch_jobs:' .. batch, new)
end

-- Jobs of one priority and group share a lane and one count.
local function lane_of(written, options)
  local priority, group = options.priority or '2', options.group or 'default'
  local name = priority .. ':' .. group
  local lane = written.lanes[name]
  if not lane then
    lane = { priority = priority, group = group, ids = {}, canary = {}, scheduled = 0 }
    written.lanes[name] = lane
    written.names[#written.names + 1] = name
  end
  return lane
end

-- The fields of a job's record that its options are.
local function fields_of(written, options)
  if options.fields then return options.fields end
  local fields = {}
  for name, value in pairs(options) do
    if type(value) == 'string' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  for name, value in pairs({ batch = written.batch ~= NO_BATCH and written.batch or nil,
    quota_owner = written.payer }) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  options.fields = fields
  return fields
end

-- Writes the n-th of the jobs that are stored; returns its place in the reply, and its time after `now`.
local function write_job(q, written, found, n)
  local i = found.fresh[n]
  local id, options = q.args[i], intake.options_at(q, i)
  local lane = lane_of(written, options)
  if found.old[i] then take_over(q, found.old[i]) end
  local kept = found.kept[id] -- no run of these attempts is its own
  if kept then redis.call('HSET', job_key(q, id), 'attempt', kept, 'ran', kept) end
  -- At a key jobs come in the order of these times: no two of a call have the same.
  local after = options.keys and n - 1 or 0
  local line = lane.ids
  if written.canary_left > 0 then -- the first jobs of a batch with a canary are marked
    written.canary_left, written.canary_jobs, line = written.canary_left - 1, written.canary_jobs + 1, lane.canary
    redis.call('HSET', job_key(q, id), 'canary', '1')
  end
  if options.files then files.hold_files(q, jobs.file_names(options.files), id) end
  local waits_for = (options.run_at or options.deadline) and with_times(q, id, options)
  -- Last of its record, since a job with a digest is known.
  redis.call('HSET', job_key(q, id), 'state', waits_for and 'scheduled' or 'ready', 'digest', q.args[i + 1],
    'created', after == 0 and written.at or int(q.now + after), unpack(fields_of(written, options)))
  written.bodies[#written.bodies + 1] = q.prefix .. 'body:' .. id
  written.bodies[#written.bodies + 1] = q.args[i + 3]
  written.bytes = written.bytes + #q.args[i + 3]
  if waits_for then
    lane.scheduled = lane.scheduled + 1
  else
    line[#line + 1] = id
  end
  written.ids[#written.ids + 1] = id
  return (i - START) / PER_JOB + 2, after
end

-- What all jobs that were written need beside their records, also after an error: made again, the call finds them known.
local function save(q, written)
  local batch, bodies = written.batch, written.bodies
  for first = 1, #bodies, 1000 do redis.call('MSET', unpack(bodies, first, math.min(first + 999, #bodies))) end
  if batch ~= NO_BATCH then list_jobs(q, batch, written.ids) end
  for _, name in ipairs(written.names) do
    local lane = written.lanes[name]
    local job = { priority = lane.priority, group = lane.group, batch = batch }
    counters.count_new(q, job, 'ready', #lane.ids + #lane.canary)
    counters.count_new(q, job, 'scheduled', lane.scheduled)
    if #lane.ids > 0 then lanes.push(q, lane.priority, lane.group, batch, lane.ids, false) end
    if #lane.canary > 0 then lanes.push(q, lane.priority, lane.group, batch .. lanes.CANARY, lane.canary, false) end
  end
  if batch ~= NO_BATCH then in_parts('SADD', q.prefix .. 'batch_lanes:' .. batch, written.names) end
  counters.bump(q.totals, 'enqueued', #written.ids)
  if written.payer then counters.charge(q, written.payer, #written.ids, written.bytes) end
  if written.canary_jobs > 0 then counters.bump(q.batch_totals[batch], 'canary_jobs', written.canary_jobs) end
end

local function body(q)
  local batch, refusal, canary_left = q.args[2], nil, 0
  if batch ~= NO_BATCH then refusal, canary_left = refused_by_batch(q, batch) end
  if refusal then return refusal end
  -- Read everything first: known jobs stay as they are.
  local reply, found = intake.read(q, START, batch)
  local payer
  if #found.fresh > 0 then refusal, payer = refused_by_quota(q, found) end
  if refusal then
    redis.call('HINCRBY', q.prefix .. 'counters', 'refused_by_quota', #found.fresh)
    return redis.error_reply(refusal)
  end
  for _, id in ipairs(found.again) do redis.call('HDEL', job_key(q, id), 'upload_abandoned') end
  if #found.fresh == 0 then return reply end

  local written = { at = int(q.now), batch = batch, payer = payer, canary_left = canary_left, canary_jobs = 0, lanes = {}, names = {},
    ids = {}, bodies = {}, bytes = 0 }
  q.at_end = function() save(q, written) end
  for n = 1, #found.fresh do
    local place, after = write_job(q, written, found, n)
    reply[place] = after
  end
  changes.save(q)
  if lanes.runs(q, batch) then lanes.wake(q) end
  return reply
end
