-- A script's changes to the counters of the account, its batches and groups; `save` writes them.
local COUNTERS, CHARGED = PREFIX .. 'counters', PREFIX .. 'charged'
local WAITS = { ready = true, scheduled = true }
expect(COUNTERS, 'hash')
expect(CHARGED, 'hash')

-- Counters are gathered and written once a script: 100 items cost one HINCRBY a field, not 100.
local totals, batch_totals, group_live, freed = {}, {}, {}, false
local group_load = {} -- ready jobs and slots: the order of the busiest groups
local charges = {} -- waiting jobs and bytes, by the owner of the quota (quotas.lua)
local removed, ended = {}, {}
local function bump(map, field, n) map[field] = (map[field] or 0) + n end

-- Removes a member of a zset when the script ends, all members of one zset in one call.
local function remove_later(zset, member)
  local members = removed[zset]
  if not members then
    members = {}
    removed[zset] = members
  end
  members[#members + 1] = member
end

-- Counts `n` new jobs in a state.
local function count_new(job, state, n)
  bump(totals, state .. ':' .. job.priority, n)
  if state == 'ready' then bump(group_load, job.group, n) end
  if job.batch ~= NO_BATCH then
    batch_totals[job.batch] = batch_totals[job.batch] or {}
    bump(batch_totals[job.batch], 'count:' .. state, n)
  end
end

-- What this script changes about keys (keys.lua) and budgets (budgets.lua): `moves` says by key which members have it now,
-- or have it no more (jobs, and orphan runs as 'stray <run>'); `states` has what is known of keys with limits; `commits`
-- has { job, member, is it live }, and `spends` has { job, steps } of runs that ended. `turn` is the lane of keys that a
-- claim takes from now, and `turn.at` its place in line; `any_held` says whether jobs wait for keys, nil = not read yet.
-- `key_commands` counts what this script runs for keys, so that a claim ends in time.
local notes = { moves = {}, states = {}, commits = {}, spends = {}, key_commands = 0 }
-- Whether there are limits on keys or budgets, or what waits or goes on because of them; read once a script: most accounts
-- have none of these.
local are_limits, are_budgets
function notes.are_limits()
  if are_limits == nil then
    are_limits = redis.call('EXISTS', PREFIX .. 'key_limits', PREFIX .. 'held_keys', PREFIX .. 'budgets',
      PREFIX .. 'held_budgets', PREFIX .. 'asides', PREFIX .. 'commits') > 0
  end
  return are_limits
end
-- The same of budgets alone.
function notes.are_budgets()
  if are_budgets == nil then
    are_budgets = notes.are_limits()
      and redis.call('EXISTS', PREFIX .. 'budgets', PREFIX .. 'held_budgets', PREFIX .. 'asides', PREFIX .. 'commits') > 0
  end
  return are_budgets
end
local function only(key, before)
  if not before then return key end
end
-- Iterates over the keys of a job; most have one, which needs no search.
function notes.keys_of(job)
  if job.keys == '' or string.find(job.keys, ' ', 1, true) then return string.gmatch(job.keys, '%S+') end
  return only, job.keys
end
-- A job, or an orphan run of it, takes its keys and commits steps, or frees them.
function notes.live(job, member, is_live)
  if notes.are_budgets() then notes.commits[#notes.commits + 1] = { job, member, is_live } end
  if not job.keys then return end
  for key in notes.keys_of(job) do
    local moves, state = notes.moves[key], notes.states[key]
    if not moves then
      moves = {}
      notes.moves[key] = moves
    end
    moves[member] = is_live
    notes.key_commands = notes.key_commands + 1
    if state then state.live = state.live + (is_live and 1 or -1) end
  end
end
-- How many have a key now.
function notes.live_with(key)
  notes.key_commands = notes.key_commands + 1
  local live = redis.call('SCARD', PREFIX .. 'key:' .. key)
  if not notes.moves[key] then return live end
  for _, has in pairs(notes.moves[key]) do live = live + (has and 1 or -1) end
  return live
end
-- A run of a job has ended; `steps` = nil if they are not known.
function notes.ended(job, steps)
  if notes.are_budgets() then notes.spends[#notes.spends + 1] = { job, steps } end
end

local function free_slot(job)
  notes.live(job, job.id, false)
  bump(totals, 'live', -1)
  bump(group_live, job.group, -1)
  bump(group_load, job.group, -1)
  freed = true
end

-- Charges the owner of jobs with them, or with fewer; '-' = only the account.
local function charge(who, jobs, bytes)
  bump(charges, 'bytes', bytes)
  if who == '-' then return end
  bump(charges, 'jobs:' .. who, jobs)
  bump(charges, 'bytes:' .. who, bytes)
end

-- A job that enters a state in which it does not wait, or is removed (`state` = nil), is not charged to its owner any
-- more. A job that ended without having been submitted cost nothing to send: its bytes are counted apart, and it is
-- listed, until it is submitted again or removed (quotas.lua).
local function discharge(job, state)
  local who = job.charged
  if not who then return end
  local size, kept = redis.call('STRLEN', PREFIX .. 'body:' .. job.id), 'kept:' .. who
  if WAITS[job.state] then
    charge(who, -1, -size)
  else
    bump(charges, kept, -size)
    remove_later(kept, job.id)
  end
  if WAITS[state] then
    charge(who, 1, size)
  elseif ENDED[state] then
    bump(charges, kept, size)
    redis.pcall('ZADD', PREFIX .. kept, now_text(), job.id)
  else
    redis.call('HDEL', job_key(job.id), 'charged')
    job.charged = nil
  end
end

-- A job that was put aside for a budget waits for it no more (budgets.lua).
function notes.leave_aside(job)
  local aside = notes.are_budgets() and redis.call('HGET', job_key(job.id), 'aside')
  if not aside then return end
  redis.call('ZREM', PREFIX .. 'aside:' .. string.match(aside, '^%S+'), job.id)
  redis.call('HDEL', job_key(job.id), 'aside', 'run_at')
  job.was_aside = true
end

-- Counts a job's change of state; the record itself is written by the caller, in one HSET.
local function count_state(job, state)
  local before = job.state
  if before == 'ready' and (job.deaths or 0) >= 2 then remove_later('suspects', job.id) end
  if before == 'scheduled' then notes.leave_aside(job) end
  if job.charged and not (WAITS[before] and WAITS[state]) then discharge(job, state) end
  bump(totals, before .. ':' .. job.priority, -1)
  bump(totals, state .. ':' .. job.priority, 1)
  if before == 'ready' or state == 'ready' then
    bump(group_load, job.group, (state == 'ready' and 1 or 0) - (before == 'ready' and 1 or 0))
  end
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
  local was_live = LIVE[before] and job.slot ~= '0'
  if LIVE[state] and not was_live then
    notes.live(job, job.id, true)
    bump(totals, 'live', 1)
    bump(group_live, job.group, 1)
    bump(group_load, job.group, 1)
  elseif was_live and not LIVE[state] then
    free_slot(job)
  end
  job.state = state
end
