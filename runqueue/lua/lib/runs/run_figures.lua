-- use: counters times
-- What an ended run took, and why it failed, as its end said it (FigureRules in runqueue/records/run_figures.py):
-- '<queued_ms>:<ran_ms>:<steps>', and if more is known ':<credits>:<cached credits>:<1 = they are estimated>:<category of
-- the failure>:<workflow run whose details are to be read>'; each '' if it is not known.
-- A job's record has the sums of all its runs (`usage` = '<steps>:<credits>:<cached credits>:<credits estimated>') and
-- the `category` of its last run. Its batch and the account have sums among their counters, its group in `group_sums`:
-- '<runs>:<completed>:<failed>:<canceled>:<dead>:' (runs with known steps; jobs that ended so), and the usage. What the
-- account has beyond these is of the group `default`, to which most jobs belong: they cost no further command.
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

-- Adds what a run took to the sums of the account, and of its job's batch and group.
local USAGE = { 'steps', 'credits', 'cached_credits', 'credits_estimated' }
local function add_to(sums, figures)
  for i = 1, 4 do
    if figures[USAGE[i]] then counters.bump(sums, USAGE[i], figures[USAGE[i]]) end
  end
end
local MOST_SQUARED = 1000000
local function count_run(totals, what, n)
  counters.bump(totals, what .. ':runs', 1)
  counters.bump(totals, what .. ':squares', math.min(n, MOST_SQUARED) ^ 2)
end

local function sum_of(before, more)
  if not more then return before end
  return int((tonumber(before) or 0) + more)
end
-- Adds to sums that are one text, a part each.
local function sums_with(text, names, more)
  local parts, at = {}, 0
  for part in string.gmatch((text or string.rep(':', #names - 1)) .. ':', '([^:]*):') do
    at = at + 1
    parts[at] = sum_of(part, more[names[at]])
  end
  return table.concat(parts, ':')
end

-- Adds what was learned of a job's run.
function run_figures.add(q, job, figures)
  for _, unit in ipairs({ 'steps', 'credits' }) do
    if figures[unit] then count_run(q.totals, unit, figures[unit]) end
  end
  add_to(q.totals, figures)
  local sums = counters.group_sums(q, job)
  if sums then add_to(sums, figures) end
  if sums and figures.steps then counters.bump(sums, 'runs', 1) end
  if job.batch ~= NO_BATCH then add_to(counters.entry(q.batch_totals, job.batch), figures) end
  job.new_usage = sums_with(job.usage, USAGE, figures)
end

-- Most runs report their steps alone.
local function add_steps(q, job, steps)
  local n, totals, sums = tonumber(steps), q.totals, counters.group_sums(q, job)
  totals.steps, totals['steps:runs'] = (totals.steps or 0) + n, (totals['steps:runs'] or 0) + 1
  totals['steps:squares'] = (totals['steps:squares'] or 0) + n * n
  if sums then sums.steps, sums.runs = (sums.steps or 0) + n, (sums.runs or 0) + 1 end
  if job.batch ~= NO_BATCH then counters.bump(counters.entry(q.batch_totals, job.batch), 'steps', n) end
  job.new_steps = steps
end

-- The details of a run are read a while later (details_claim.lua): '<job> <its run> <since_us> <tries>', and a line for
-- each budget that counts it as expected (budgets.lua).
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
  if figures.steps or figures.credits then run_figures.add(q, job, figures) end
end

-- Adds to the sums of groups. Beyond so many groups all others have one sum.
local MOST_GROUPS, OTHERS = 10000, '(others)'
local SUMS = { 'runs', 'completed', 'failed', 'canceled', 'dead', 'steps', 'credits', 'cached_credits',
  'credits_estimated' }
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
    values[group] = sums_with(sum or nil, SUMS, sums_by_group[groups[i]])
  end
  for group, value in pairs(values) do
    written[#written + 1] = group
    written[#written + 1] = value
  end
  redis.call('HSET', key, unpack(written))
end

-- Appends a job's usage and category to the fields of its record that are written.
function run_figures.put(job, fields)
  local usage = job.new_usage or (job.new_steps and job.new_steps .. ':::')
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
