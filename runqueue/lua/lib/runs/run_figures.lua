-- use: counters times
-- What an ended run took, and why it failed, as its end said it (FigureRules in runqueue/records/run_figures.py):
-- '<queued_ms>:<ran_ms>:<steps>', and if more is known ':<credits>:<cached credits>:<1 = they are estimated>:<category of
-- the failure>:<workflow run, if it has the credits, or its details are to be read>'; each '' if it is not known.
-- A job's record has the sums of all its runs (`usage` = '<steps>:<credits>:<cached credits>:<credits estimated>') and
-- the `category` of its last run. Its batch and the account have sums among their counters, and groups of credits.
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

-- The sums of a job's usage, which is one text, a part each.
local function sums_with(text, figures)
  local parts, at = {}, 0
  for part in string.gmatch((text or ':::') .. ':', '([^:]*):') do
    at = at + 1
    local more = figures[USAGE[at]]
    parts[at] = more and int((tonumber(part) or 0) + more) or part
  end
  return table.concat(parts, ':')
end

-- Credits by group: '<sum> <group>' in `group_credits`. Beyond so many groups all others have one sum.
local MOST_FIELDS, OTHERS = 4000, '(others)'
local function add_to_group(q, group, figures)
  local key = q.prefix .. 'group_credits'
  if redis.call('HLEN', key) >= MOST_FIELDS and redis.call('HEXISTS', key, 'runs ' .. group) == 0 then group = OTHERS end
  counters.bump(q.group_credits, 'runs ' .. group, 1)
  for i = 2, 4 do
    if figures[USAGE[i]] then counters.bump(q.group_credits, USAGE[i] .. ' ' .. group, figures[USAGE[i]]) end
  end
end

-- Adds what was learned of a job's run to its own sums, and those of its account, batch and group.
function run_figures.add(q, job, figures)
  for _, unit in ipairs({ 'steps', 'credits' }) do
    if figures[unit] then count_run(q.totals, unit, figures[unit]) end
  end
  add_to(q.totals, figures)
  if (figures.credits or 0) > 0 then add_to_group(q, job.group, figures) end
  if job.batch ~= NO_BATCH then
    local sums = counters.entry(q.batch_totals, job.batch)
    add_to(sums, figures)
    if figures.credits then counters.bump(sums, 'credits_runs', 1) end
  end
  job.new_usage = sums_with(job.usage, figures)
end

-- Most runs report their steps alone.
local function add_steps(q, job, steps)
  local n, totals = tonumber(steps), q.totals
  totals.steps, totals['steps:runs'] = (totals.steps or 0) + n, (totals['steps:runs'] or 0) + 1
  totals['steps:squares'] = (totals['steps:squares'] or 0) + n * n
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
  if figures.details and not figures.credits then await_details(q, job, figures.details) end
  if figures.category then job.new_category = figures.category end
  if figures.steps or figures.credits then run_figures.add(q, job, figures) end
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
