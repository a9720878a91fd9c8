-- use: jobs files budgets
-- What Redis knows of jobs that are submitted. Nothing is written.
local intake = {}
local PER_JOB = 4 -- arguments: id, digest, options, body

-- The options of the job whose arguments begin at `i`; jobs with the same text share them.
function intake.options_at(q, i)
  local text = q.args[i + 2]
  local options = q.options_by_text[text]
  if not options then
    options = text == '' and {} or cjson.decode(text)
    q.options_by_text[text] = options
  end
  return options
end

-- The attempts that a job counts on from whose id a discarded one had, see `remove_record`.
local function kept_attempts(q, id, digest)
  local found = redis.call('GET', q.prefix .. 'attempts:' .. id) or ''
  local next_attempt, request, first = string.match(found, '^(%d+) (%S+) (%d+)$')
  if request == string.sub(redis.sha1hex(digest), 1, 16) then return first ~= '0' and first end
  return next_attempt
end

local function known_already(q, found, i, digest)
  local id = q.args[i]
  local f = redis.call('HMGET', job_key(q, id), 'state', 'batch', 'created', 'priority', 'group', 'deadline', 'attempt',
      'earlier', 'ran', 'canary', 'maybe_claimed_at', 'upload_abandoned', 'quota_owner')
  local job = { id = id, state = f[1], batch = f[2] or NO_BATCH, created = f[3],
    priority = f[4] or '2', group = f[5] or 'default', deadline = f[6], attempt = f[7], earlier = f[8], ran = f[9],
    canary = f[10], maybe_claimed_at = f[11], quota_owner = f[13] }
  local code = 1
  if f[12] and digest == q.args[i + 1] then found.again[#found.again + 1] = id end
  if digest ~= q.args[i + 1] then
    code = 2
  elseif job.batch ~= NO_BATCH and job.batch ~= found.batch and (job.state == 'ready' or job.state == 'scheduled')
    and redis.call('HGET', q.prefix .. 'batch:' .. job.batch, 'sealed') ~= '1' then
    code = 3
    found.old[i] = job
    found.fresh[#found.fresh + 1] = i
    found.digests[id] = digest
  end
  return { code, job.state, job.batch, job.created }
end

-- Usually none of them is known; one command checks all.
local function is_any_known(q, start)
  local keys = {}
  for i = start, #q.args, PER_JOB do keys[#keys + 1] = job_key(q, q.args[i]) end
  for first = 1, #keys, 1000 do
    if redis.call('EXISTS', unpack(keys, first, math.min(first + 999, #keys))) > 0 then return true end
  end
  return false
end

-- Reports another job that holds one of a job's files; else the files are the job's own in this call.
local function file_taken(q, found, id, given_files)
  local names, owner, file = jobs.file_names(given_files), nil, nil
  for _, name in ipairs(names) do
    if found.held[name] then
      owner, file = found.held[name], name
      break
    end
  end
  if not owner then owner, file = files.other_holder(q, names, id) end
  if owner then
    local f = redis.call('HMGET', job_key(q, owner), 'state', 'batch', 'created')
    return { 4, f[1] or 'ready', f[2] or found.batch, f[3] or int(q.now), owner, file }
  end
  for _, name in ipairs(names) do found.held[name] = id end
  return nil
end

-- Reports a strict budget that the job's `max_steps` can never fit into, or that needs some.
local function refused_by_budget(q, found, id, options)
  if not budgets.are_any(q) then return nil end
  local scope, most = budgets.refuses(q, { id = id, group = options.group or 'default', keys = options.keys,
    batch = found.batch, max_steps = tonumber(options.max_steps or nil) or false })
  return scope and { 5, 'ready', found.batch, int(q.now), scope, int(most) }
end

local function read_job(q, found, i)
  local id, its_digest = q.args[i], q.args[i + 1]
  local twin = found.digests[id]
  if twin then -- the same id twice in one call
    return { twin == its_digest and 1 or 2, 'ready', found.batch, int(q.now) }
  end
  local digest = found.is_any_known and redis.pcall('HGET', job_key(q, id), 'digest')
  if digest and digest.err then return { 2, 'unconfirmed', NO_BATCH, int(q.now) } end -- a record that cannot be read
  if digest then return known_already(q, found, i, digest) end
  local options = intake.options_at(q, i)
  local refused = (options.files and file_taken(q, found, id, options.files))
    or refused_by_budget(q, found, id, options)
  if refused then return refused end
  found.fresh[#found.fresh + 1] = i
  found.digests[id] = its_digest
  found.kept[id] = found.are_any_kept and kept_attempts(q, id, its_digest)
  return 0
end

-- Reads all jobs, whose arguments begin at `start`. Returns the reply of enqueue.lua, and what was found: `fresh` = where
-- the arguments begin of jobs to be stored; `old` = records of those of them that are taken over, by the same; `kept` =
-- attempts by id; `again` = ids whose run is searched, and whose upload was discarded.
function intake.read(q, start, batch)
  local found = { batch = batch, fresh = {}, old = {}, digests = {}, kept = {}, again = {}, held = {} }
  local reply = { int(q.now) }
  found.are_any_kept = (tonumber(redis.call('HGET', q.meta, 'attempts_until') or 0) or 0) > q.now
  found.is_any_known = is_any_known(q, start)
  for i = start, #q.args, PER_JOB do reply[#reply + 1] = read_job(q, found, i) end
  return reply, found
end

return intake
