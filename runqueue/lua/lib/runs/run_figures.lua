-- use: counters times
-- What an ended run took, and why it failed, as its end said it (FigureRules in runqueue/records/run_figures.py):
-- '<queued_ms>:<ran_ms>:<steps>', and if more is known ':<credits>:<cached credits>:<1 = they are estimated>:<category of
-- the failure>:<workflow run whose details are to be read>'; each '' if it is not known.
-- A job's record has the sums of all its runs (`usage` = '<steps>:<credits>:<cached credits>:<credits estimated>') and
-- the `category` of its last run. Its batch and the account have sums among their counters, its group in `group_sums`:
-- '<runs>:<completed>:<failed>:<canceled>:' (jobs that ended with such a run), and the usage.
local run_figures = {}

local NONE = {}
function run_figures.read(text)
  local steps, more = string.match(text, '^%d*:%d*:(%d*):?(.*)$')
  if not steps then return NONE end
  local figures = { steps = tonumber(steps) }
  if more == '' then return figures end
  local credits, cached, estimated, category, details = string.match(more, '^(%d*):(%d*):(1?):([A-Z0-9_]*):(.*)$')
  figures.credits, figures.cached_credits = tonumber(credits), tonumber(cached)
  figures.credits_estimated = estimated == '1' and figures.credits or nil
  figures.category = category ~= '' and category or nil
  figures.details = details ~= '' and details or nil
  return figures
end

local function group_of(q, job)
  local sums = q.group_sums[job.group]
  if not sums then
    sums = {}
    q.group_sums[job.group] = sums
  end
  return sums
end

local function batch_of(q, job)
  if job.batch == NO_BATCH then return {} end
  q.batch_totals[job.batch] = q.batch_totals[job.batch] or {}
  return q.batch_totals[job.batch]
end

-- Adds what a run took to the sums of the account, and of its job's batch and group.
local USAGE = { 'steps', 'credits', 'cached_credits', 'credits_estimated' }
local function add_to(sums, figures)
  for i = 1, 4 do
    local more = figures[USAGE[i]]
    if more then sums[USAGE[i]] = (sums[USAGE[i]] or 0) + more end
  end
end
local MOST_SQUARED = 1000000
local function count_run(totals, what, n)
  local runs, squares = what .. ':runs', what .. ':squares'
  n = math.min(n, MOST_SQUARED)
  totals[runs], totals[squares] = (totals[runs] or 0) + 1, (totals[squares] or 0) + n * n
end

local function sum_of(before, more)
  if not more then return before end
  return int((tonumber(before) or 0) + more)
end
local function usage_with(usage, figures)
  local steps, credits, cached, estimated = string.match(usage or '', '^(%d*):(%d*):(%d*):(%d*)$')
  return table.concat({ sum_of(steps or '', figures.steps), sum_of(credits or '', figures.credits),
    sum_of(cached or '', figures.cached_credits), sum_of(estimated or '', figures.credits_estimated) }, ':')
end

-- Adds what was learned of a job's run.
function run_figures.add(q, job, figures)
  add_to(q.totals, figures)
  if figures.steps then count_run(q.totals, 'steps', figures.steps) end
  if figures.credits then count_run(q.totals, 'credits', figures.credits) end
  add_to(group_of(q, job), figures)
  add_to(batch_of(q, job), figures)
  job.new_usage = usage_with(job.usage, figures)
end

-- Most runs report their steps alone.
local function add_steps(q, job, steps)
  local n, totals, sums, batch = tonumber(steps), q.totals, group_of(q, job), batch_of(q, job)
  totals.steps, sums.steps, sums.runs = (totals.steps or 0) + n, (sums.steps or 0) + n, (sums.runs or 0) + 1
  totals['steps:runs'], totals['steps:squares'] = (totals['steps:runs'] or 0) + 1, (totals['steps:squares'] or 0) + n * n
  batch.steps = (batch.steps or 0) + n
  job.new_steps = steps
end

-- The details of a run are read a while later (details_claim.lua): '<job> <its run> <since_us> <tries>', and a line for each
-- budget that counts it as expected (budgets.lua).
local DETAILS_AFTER = 5000000
local function await_details(q, job, run_id)
  counters.put_later(q, 'run_details', int(q.now + DETAILS_AFTER), run_id)
  redis.call('HSET', q.prefix .. 'run_details_of', run_id, job.id .. ' ' .. job.run_id .. ' ' .. int(q.now) .. ' 0')
end

-- A run has ended: what it took counts. `put` writes what of it is the job's.
function run_figures.observe(q, job, text)
  local queued, ran, steps = string.match(text, '^(%d*):(%d*):(%d*)$')
  counters.ended(q, job, text)
  if job.category then job.new_category = '' end
  if not queued then queued, ran = string.match(text, '^(%d*):(%d*):') end
  if not queued then return end
  if queued ~= '' then times.observe(q, 'run_queue', tonumber(queued) * 1000) end
  if ran ~= '' then times.observe(q, 'run', tonumber(ran) * 1000) end
  if steps and not job.usage then
    if steps ~= '' then add_steps(q, job, steps) end
    return
  end
  local figures = run_figures.read(text)
  if figures.details then await_details(q, job, figures.details) end
  if figures.category then job.new_category = figures.category end
  if figures.steps or figures.credits then
    run_figures.add(q, job, figures)
    counters.bump(group_of(q, job), 'runs', 1)
  end
end

-- Adds to the sums of groups. Beyond so many groups all others have one sum.
local MOST_GROUPS, OTHERS = 10000, '(others)'
local SUMS = { 'runs', 'completed', 'failed', 'canceled', 'steps', 'credits', 'cached_credits', 'credits_estimated' }
local function sum_up(before, sums)
  local parts, at = {}, 0
  for part in string.gmatch((before or ':::::::') .. ':', '([^:]*):') do
    at = at + 1
    parts[at] = sum_of(part, sums[SUMS[at]])
  end
  return table.concat(parts, ':')
end
function run_figures.save_groups(q, sums_by_group)
  local key, groups, values, written = q.prefix .. 'group_sums', {}, {}, {}
  for group in pairs(sums_by_group) do groups[#groups + 1] = group end
  local before, size = redis.call('HMGET', key, unpack(groups)), nil
  for i, group in ipairs(groups) do
    if not before[i] then
      size = size or redis.call('HLEN', key)
      if size >= MOST_GROUPS then group = OTHERS else size = size + 1 end
    end
    local sum = before[i] or values[group] or (group == OTHERS and redis.call('HGET', key, group))
    values[group] = sum_up(sum or nil, sums_by_group[groups[i]])
  end
  for group, value in pairs(values) do
    written[#written + 1] = group
    written[#written + 1] = value
  end
  redis.call('HSET', key, unpack(written))
end

-- Appends a job's usage and category to the fields of its record that are written. The steps of a completed job whose
-- one run reported no more are in its result: its usage is not written.
function run_figures.put(job, fields, state)
  local usage = job.new_usage or (state ~= 'completed' and job.new_steps and job.new_steps .. ':::')
  if usage then
    fields[#fields + 1] = 'usage'
    fields[#fields + 1] = usage
  end
  if job.new_category then
    fields[#fields + 1] = 'category'
    fields[#fields + 1] = job.new_category
  end
  return fields
end

return run_figures
