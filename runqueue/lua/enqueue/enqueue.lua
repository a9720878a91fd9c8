-- use: counters lanes changes files jobs quotas budgets
-- flags: refused-when-full
-- Accepts up to 1,000 jobs: (nothing) → scheduled | ready.
-- ARGV  now_us, batch ('-' none, '?' only check: nothing is written), quota ('' = none, '<name> <jobs> <bytes>': so
--       much may wait of the producer of that name, 0 = any number), then 4 a job: id, digest, options, body
--       options = '' or a JSON object. Its texts are fields of the job's record, as they are: priority (0 to 3), group,
--       keys (key_limits.lua), files (files.lua), max_steps (budgets.lua), and others. run_at and deadline are
--       {"at": <us>}, or {"after": <us>} from now
-- Reply { now_us, per job: us after that at which a new one was made | { code, state, batch, created_us } } with code
--       1 = known (same body), 2 = conflict (another body, or a record that cannot be read), 3 = taken over from an unsealed batch,
--       4 = not stored: another job holds a file, and the state is its; it and the file follow
--       5 = not stored: a strict budget, whose scope and steps follow; the job has no max_steps, or more than these
-- Error NOBATCH, EXPIRED, SEALED (or canceled: its sweep may have passed), QUOTA <account> <name, '-' = the account's>
--       <jobs | bytes> <how many may wait>. No job is stored then.
local call, batch = redis.call, q.args[2]
local batch_key = q.prefix .. 'batch:' .. batch
local JOB, BODY = q.prefix .. 'job:', q.prefix .. 'body:'
local DUE, DEADLINES = q.prefix .. 'due', q.prefix .. 'deadlines'
local PER_JOB = 4

local only_look = batch == '?'
local canary_left, canary_jobs = 0, 0
-- The error of an upload that takes no more jobs; nil = it does.
local function refused_by_batch()
  local f = call('HMGET', batch_key, 'sealed', 'held', 'canary', 'canary_jobs')
  if not f[1] then return redis.error_reply('NOBATCH ' .. batch) end
  if f[1] == '0' and f[2] == 'expired' then return redis.error_reply('EXPIRED ' .. batch) end
  if f[1] == '1' or f[2] == 'canceled' then return redis.error_reply('SEALED ' .. batch) end
  canary_left = tonumber(f[3] or 0) - tonumber(f[4] or 0)
  return nil
end
local refusal = batch ~= NO_BATCH and not only_look and refused_by_batch()
if refusal then return refusal end

local payer -- the owner of the new jobs; nil = none
-- Jobs of one priority and group share a lane and one count.
local by_lane, order, names = {}, {}, {}
local function lane_of(options)
  local priority, group = options.priority or '2', options.group or 'default'
  local name = priority .. ':' .. group
  local lane = by_lane[name]
  if not lane then
    lane = { priority = priority, group = group, ids = {}, canary = {}, scheduled = 0 }
    by_lane[name] = lane
    order[#order + 1] = lane
    names[#names + 1] = name
  end
  return lane
end

-- Jobs with the same options share what is read of them.
local options_by_text = {}
local function options_at(i)
  local text = q.args[i + 2]
  local options = options_by_text[text]
  if not options then
    options = text == '' and {} or cjson.decode(text)
    options_by_text[text] = options
  end
  return options
end

-- The fields of a job's record that its options are.
local function fields_of(options)
  if options.fields then return options.fields end
  local fields = {}
  for name, value in pairs(options) do
    if type(value) == 'string' then
      fields[#fields + 1] = name
      fields[#fields + 1] = value
    end
  end
  for name, value in pairs({ batch = batch ~= NO_BATCH and batch or nil, charged = payer }) do
    fields[#fields + 1] = name
    fields[#fields + 1] = value
  end
  options.fields = fields
  return fields
end

local function moment(when) return when and (when.at or q.now + when.after) end

-- Read everything first: known jobs stay as they are.
local now_text = int(q.now)
local reply, fresh, old, digests = { now_text }, {}, {}, {}
local wanted_again = {} -- jobs whose run is searched, and whose upload was discarded
local kept = {} -- the attempts that jobs count on from whose ids discarded jobs had, see `remove_record`
local are_any_kept = (tonumber(call('HGET', q.meta, 'attempts_until') or 0) or 0) > q.now
local function kept_attempts(id, digest)
  local found = call('GET', q.prefix .. 'attempts:' .. id) or ''
  local next_attempt, request, first = string.match(found, '^(%d+) (%S+) (%d+)$')
  if request == string.sub(redis.sha1hex(digest), 1, 16) then return first ~= '0' and first end
  return next_attempt
end

local function known_already(i, id, digest)
  local f = call('HMGET', JOB .. id, 'state', 'batch', 'created', 'priority', 'group', 'deadline', 'attempt',
      'earlier', 'ran', 'canary', 'lost_claim', 'given_up', 'charged')
  local job = { id = id, state = f[1], batch = f[2] or NO_BATCH, created = f[3],
    priority = f[4] or '2', group = f[5] or 'default', deadline = f[6], attempt = f[7], earlier = f[8], ran = f[9],
    canary = f[10], lost_claim = f[11], charged = f[13] }
  local code = 1
  if f[12] and digest == q.args[i + 1] then wanted_again[#wanted_again + 1] = id end
  if digest ~= q.args[i + 1] then
    code = 2
  elseif job.batch ~= NO_BATCH and job.batch ~= batch and (job.state == 'ready' or job.state == 'scheduled')
    and call('HGET', q.prefix .. 'batch:' .. job.batch, 'sealed') ~= '1' then
    code = 3
    old[i] = job
    fresh[#fresh + 1] = i
    digests[id] = digest
  end
  return { code, job.state, job.batch, job.created }
end

-- Usually none of them is known; one command checks all.
local function is_any_known()
  local keys = {}
  for i = 4, #q.args, PER_JOB do keys[#keys + 1] = JOB .. q.args[i] end
  for first = 1, #keys, 1000 do
    if call('EXISTS', unpack(keys, first, math.min(first + 999, #keys))) > 0 then return true end
  end
  return false
end

-- Reports another job that holds one of a job's files; else the files are the job's own in this call.
local held = {}
local function file_taken(id, given_files)
  local names, owner, file = jobs.file_names(given_files), nil, nil
  for _, name in ipairs(names) do
    if held[name] then
      owner, file = held[name], name
      break
    end
  end
  if not owner then owner, file = files.other_holder(q, names, id) end
  if owner then
    local f = call('HMGET', JOB .. owner, 'state', 'batch', 'created')
    return { 4, f[1] or 'ready', f[2] or batch, f[3] or now_text, owner, file }
  end
  for _, name in ipairs(names) do held[name] = id end
  return nil
end

-- Reports a strict budget that the job's `max_steps` can never fit into, or that needs some.
local function refused_by_budget(i, options)
  if not budgets.are_any(q) then return nil end
  local scope, most = budgets.refuses(q, { id = q.args[i], group = options.group or 'default', keys = options.keys,
    batch = batch ~= '?' and batch or NO_BATCH, max_steps = tonumber(options.max_steps or nil) or false })
  return scope and { 5, 'ready', batch, now_text, scope, int(most) }
end

local any_known = is_any_known()
local function read_job(i)
  local id = q.args[i]
  local twin = digests[id]
  if twin then -- the same id twice in one call
    return { twin == q.args[i + 1] and 1 or 2, 'ready', batch, now_text }
  end
  local digest = any_known and redis.pcall('HGET', JOB .. id, 'digest')
  if digest and digest.err then return { 2, 'unconfirmed', NO_BATCH, now_text } end -- a record that cannot be read
  if digest then return known_already(i, id, digest) end
  local options = options_at(i)
  local refused = (options.files and file_taken(id, options.files)) or refused_by_budget(i, options)
  if refused then return refused end
  fresh[#fresh + 1] = i
  digests[id] = q.args[i + 1]
  kept[id] = are_any_kept and kept_attempts(id, q.args[i + 1])
  return 0
end
for i = 4, #q.args, PER_JOB do reply[#reply + 1] = read_job(i) end
if only_look then return reply end

-- Raises QUOTA if more would wait than may. Retries, replays and jobs that go back to their lane are not checked.
local new_bytes = 0
local function refused_by_quota()
  local most_jobs, most_bytes = quotas.read(q)
  local name, own_jobs, own_bytes = string.match(q.args[3], '^(%S+) (%d+) (%d+)$')
  if not name and most_jobs == 0 and most_bytes == 0 then return nil end
  payer = name or '-'
  local waiting, new_jobs, own_new, own_bytes_new = quotas.jobs_waiting(q), #fresh, #fresh, 0
  for _, i in ipairs(fresh) do new_bytes = new_bytes + #q.args[i + 3] end
  own_bytes_new = new_bytes
  local bytes = new_bytes
  for i, job in pairs(old) do -- taken over: they count as waiting already
    local stored = redis.call('STRLEN', BODY .. job.id)
    new_jobs = new_jobs - 1
    if job.charged then bytes = bytes - stored end
    if name and job.charged == name then own_new, own_bytes_new = own_new - 1, own_bytes_new - stored end
  end
  local sums = { 'bytes', 'jobs:' .. (name or ''), 'bytes:' .. (name or '') }
  local f = redis.call('HMGET', q.prefix .. 'charged', unpack(sums))
  local function over(whose, what, most, there, new)
    if most == 0 or there + new <= most then return nil end
    return 'QUOTA ' .. string.match(q.prefix, '{(.*)}') .. ' ' .. whose .. ' ' .. what .. ' ' .. int(most)
  end
  return over('-', 'jobs', most_jobs, waiting, new_jobs)
    or over('-', 'bytes', most_bytes, tonumber(f[1] or 0), bytes)
    or (name and over(name, 'jobs', tonumber(own_jobs), tonumber(f[2] or 0), own_new))
    or (name and over(name, 'bytes', tonumber(own_bytes), tonumber(f[3] or 0), own_bytes_new))
end
refusal = #fresh > 0 and refused_by_quota()
if refusal then
  call('HINCRBY', q.prefix .. 'counters', 'refused_by_quota', #fresh)
  return redis.error_reply(refusal)
end
for _, id in ipairs(wanted_again) do call('HDEL', JOB .. id, 'given_up') end
if #fresh == 0 then return reply end

-- A job of an unfinished upload is submitted again: the new batch takes it over. The old lane keeps its id; a claim
-- skips it there, because its batch is not the lane's. The old batch's list keeps it, too, and `batch_left` records
-- that: it may come back.
local function take_over(job)
  counters.bump(q.totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then counters.bump(q.group_load, job.group, -1) end
  q.batch_totals[job.batch] = q.batch_totals[job.batch] or {}
  counters.bump(q.batch_totals[job.batch], 'count:' .. job.state, -1)
  counters.bump(q.batch_totals[job.batch], 'moved', 1)
  call('SADD', q.prefix .. 'batch_left:' .. job.batch, job.id)
  if job.canary then counters.bump(q.batch_totals[job.batch], 'canary_jobs', -1) end
  if job.state == 'scheduled' then call('ZREM', DUE, job.id) end
  if job.deadline then call('ZREM', DEADLINES, job.id) end
  counters.discharge(q, job)
  call('DEL', JOB .. job.id, q.prefix .. 'result:' .. job.id)
  -- Every attempt's marker is used once.
  if job.attempt then call('HSET', JOB .. job.id, 'attempt', job.attempt) end
  if job.lost_claim then call('HSET', JOB .. job.id, 'lost_claim', job.lost_claim) end
  if job.earlier then call('HSET', JOB .. job.id, 'earlier', job.earlier) end
  if job.ran then call('HSET', JOB .. job.id, 'ran', job.ran) end
end

-- Writes a job's times; returns when it has to wait for; nil = it is ready.
local function with_times(id, options)
  local run_at, deadline = moment(options.run_at), moment(options.deadline)
  if deadline then
    call('ZADD', DEADLINES, int(deadline), id)
    call('HSET', JOB .. id, 'deadline', int(deadline))
  end
  local relative = (options.run_at and options.run_at.after and 'run_at ' or '')
    .. (options.deadline and options.deadline.after and 'deadline' or '')
  if relative ~= '' and note_relative(q) then call('HSET', JOB .. id, 'relative', relative) end
  if not run_at or (run_at <= q.now and not clock_is_stale(q)) then return nil end
  call('ZADD', DUE, int(run_at), id)
  call('HSET', JOB .. id, 'run_at', int(run_at))
  return run_at
end

-- Marks the first jobs of a batch with a canary.
local function marks_canary(id)
  if canary_left <= 0 then return false end
  canary_left, canary_jobs = canary_left - 1, canary_jobs + 1
  call('HSET', JOB .. id, 'canary', '1')
  return true
end

-- Adds jobs to the batch's list; one that came back from another upload is in it already.
local function list_jobs(ids)
  local left, new = q.prefix .. 'batch_left:' .. batch, ids
  if call('EXISTS', left) == 1 then
    new = {}
    for _, id in ipairs(ids) do
      if call('SREM', left, id) == 0 then new[#new + 1] = id end
    end
    q.batch_totals[batch] = q.batch_totals[batch] or {}
    counters.bump(q.batch_totals[batch], 'moved', #new - #ids)
  end
  in_parts('RPUSH', q.prefix .. 'batch_jobs:' .. batch, new)
end

local ids, bodies, written_bytes = {}, {}, 0
local function write_job(n, i)
  local id, options = q.args[i], options_at(i)
  local lane = lane_of(options)
  if old[i] then take_over(old[i]) end
  if kept[id] then call('HSET', JOB .. id, 'attempt', kept[id], 'ran', kept[id]) end -- no run of these is its own
  -- At a key jobs come in the order of these times: no two of a call have the same.
  local after = options.keys and n - 1 or 0
  reply[(i - 4) / PER_JOB + 2] = after
  local line = marks_canary(id) and lane.canary or lane.ids
  if options.files then files.hold_files(q, jobs.file_names(options.files), id) end
  local waits_for = (options.run_at or options.deadline) and with_times(id, options)
  -- Last of its record, since a job with a digest is known.
  call('HSET', JOB .. id, 'state', waits_for and 'scheduled' or 'ready', 'digest', q.args[i + 1],
    'created', int(q.now + after), unpack(fields_of(options)))
  bodies[#bodies + 1] = BODY .. id
  bodies[#bodies + 1] = q.args[i + 3]
  written_bytes = written_bytes + #q.args[i + 3]
  if waits_for then
    lane.scheduled = lane.scheduled + 1
  else
    line[#line + 1] = id
  end
  ids[#ids + 1] = id
end

-- What all jobs that were written need beside their records, also after an error: made again, the call finds them known.
function q.at_end()
  for first = 1, #bodies, 1000 do call('MSET', unpack(bodies, first, math.min(first + 999, #bodies))) end
  if batch ~= NO_BATCH then list_jobs(ids) end
  for _, lane in ipairs(order) do
    local job = { priority = lane.priority, group = lane.group, batch = batch }
    counters.count_new(q, job, 'ready', #lane.ids + #lane.canary)
    counters.count_new(q, job, 'scheduled', lane.scheduled)
    if #lane.ids > 0 then lanes.push(q, lane.priority, lane.group, batch, lane.ids, false) end
    if #lane.canary > 0 then lanes.push(q, lane.priority, lane.group, batch .. lanes.CANARY, lane.canary, false) end
  end
  if batch ~= NO_BATCH then in_parts('SADD', q.prefix .. 'batch_lanes:' .. batch, names) end
  counters.bump(q.totals, 'enqueued', #ids)
  if payer then counters.charge(q, payer, #ids, written_bytes) end
  if canary_jobs > 0 then counters.bump(q.batch_totals[batch], 'canary_jobs', canary_jobs) end
end
for n, i in ipairs(fresh) do write_job(n, i) end
changes.save(q)
if lanes.runs(q, batch) then lanes.wake(q) end
return reply
