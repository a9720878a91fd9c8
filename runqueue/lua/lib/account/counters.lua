-- use: job_record
-- A script's changes to the counters of the account, its batches and groups; `changes.save` writes them.
local counters = {}

counters.WAITS = { ready = true, scheduled = true }

-- Adds to one of the context's counters.
function counters.bump(map, field, n) map[field] = (map[field] or 0) + n end

-- A table's entry, made when it is first used.
function counters.entry(map, name)
  local entry = map[name]
  if not entry then
    entry = {}
    map[name] = entry
  end
  return entry
end

-- Adds a member to a zset, or removes it, when the script ends: all members of one zset in one call, additions first.
function counters.put_later(q, zset, score, member)
  local members = counters.entry(q.put_members, zset)
  members[#members + 1] = score
  members[#members + 1] = member
end
function counters.remove_later(q, zset, member)
  local members = counters.entry(q.removed_members, zset)
  members[#members + 1] = member
end

-- Counts `n` new jobs in a state.
function counters.count_new(q, job, state, n)
  counters.bump(q.totals, state .. ':' .. job.priority, n)
  if state == 'ready' then counters.bump(q.group_load, job.group, n) end
  if job.batch ~= NO_BATCH then
    counters.bump(counters.entry(q.batch_totals, job.batch), 'count:' .. state, n)
  end
end

-- Whether there are limits on keys or budgets, or what waits or goes on because of them; read once a script: most accounts
-- have none of these.
function counters.are_limits(q)
  if q.are_limits == nil then
    q.are_limits = redis.call('EXISTS', q.prefix .. 'key_limits', q.prefix .. 'held_keys', q.prefix .. 'budgets',
      q.prefix .. 'held_budgets', q.prefix .. 'deferred_for', q.prefix .. 'commits') > 0
  end
  return q.are_limits
end
-- The same of budgets alone.
function counters.are_budgets(q)
  if q.are_budgets == nil then
    q.are_budgets = counters.are_limits(q)
      and redis.call('EXISTS', q.prefix .. 'budgets', q.prefix .. 'held_budgets', q.prefix .. 'deferred_for',
        q.prefix .. 'commits') > 0
  end
  return q.are_budgets
end
function counters.keys_of(job) return string.gmatch(job.keys, '%S+') end
-- A job, or an orphan run of it, takes its keys and commits steps, or frees them.
function counters.live(q, job, member, is_live)
  if counters.are_budgets(q) then q.step_commits[#q.step_commits + 1] = { job, member, is_live } end
  if not job.keys then return end
  for key in counters.keys_of(job) do
    local state = q.key_states[key]
    counters.entry(q.key_moves, key)[member] = is_live
    q.key_commands = q.key_commands + 1
    if state then state.live = state.live + (is_live and 1 or -1) end
  end
end
-- How many have a key now.
function counters.live_with(q, key)
  q.key_commands = q.key_commands + 1
  local live = redis.call('SCARD', q.prefix .. 'key:' .. key)
  if not q.key_moves[key] then return live end
  for _, has in pairs(q.key_moves[key]) do live = live + (has and 1 or -1) end
  return live
end
-- A run of a job has ended; `figures` = what it took, as its end said it (run_figures.lua).
function counters.ended(q, job, figures)
  if counters.are_budgets(q) then q.step_spends[#q.step_spends + 1] = { job, figures } end
end

function counters.free_slot(q, job)
  counters.live(q, job, job.id, false)
  counters.bump(q.totals, 'live', -1)
  counters.bump(q.group_live, job.group, -1)
  counters.bump(q.group_load, job.group, -1)
  q.freed = true
end

-- Charges the owner of jobs with them, or with fewer; '-' = only the account.
function counters.charge(q, who, jobs, bytes)
  counters.bump(q.charges, 'bytes', bytes)
  if who == '-' then return end
  counters.bump(q.charges, 'jobs:' .. who, jobs)
  counters.bump(q.charges, 'bytes:' .. who, bytes)
end

-- A job that enters a state in which it does not wait, or is removed (`state` = nil), is not charged to its owner any
-- more. If it ended without ever having been submitted its request is dropped, all but its envelope: canceled jobs
-- cannot fill Redis. The record stays for its week, and with it the idempotency key.
function counters.discharge(q, job, state)
  local who = job.quota_owner
  if not who then return end
  counters.charge(q, who, -1, -redis.call('STRLEN', q.prefix .. 'body:' .. job.id))
  redis.call('HDEL', job_key(q, job.id), 'quota_owner')
  job.quota_owner = nil
  if ENDED[state] and tonumber(job.attempt or 0) == 0 then job_record.drop_request(q, job.id) end
end

-- A job that was deferred for a budget waits for it no more (budgets.lua).
function counters.leave_deferred(q, job)
  local deferred = counters.are_budgets(q) and redis.call('HGET', job_key(q, job.id), 'deferred')
  if not deferred then return end
  redis.call('ZREM', q.prefix .. 'deferred:' .. string.match(deferred, '^%S+'), job.id)
  redis.call('HDEL', job_key(q, job.id), 'deferred', 'run_at')
  job.was_deferred = true
end

-- Counts a job's change of state; the record itself is written by the caller, in one HSET.
function counters.count_state(q, job, state)
  local before = job.state
  if before == 'scheduled' then counters.leave_deferred(q, job) end
  if job.quota_owner and not counters.WAITS[state] then counters.discharge(q, job, state) end
  local totals, left, entered = q.totals, before .. ':' .. job.priority, state .. ':' .. job.priority
  totals[left] = (totals[left] or 0) - 1
  totals[entered] = (totals[entered] or 0) + 1
  if before == 'ready' or state == 'ready' then
    counters.bump(q.group_load, job.group, (state == 'ready' and 1 or 0) - (before == 'ready' and 1 or 0))
  end
  if job.batch ~= NO_BATCH then
    local counts = counters.entry(q.batch_totals, job.batch)
    counters.bump(counts, 'count:' .. before, -1)
    counters.bump(counts, 'count:' .. state, 1)
    if job.canary then
      counters.bump(counts, 'canary_ended', (ENDED[state] and 1 or 0) - (ENDED[job.state] and 1 or 0))
      counters.bump(counts, 'canary_completed', (state == 'completed' and 1 or 0))
    end
  end
  local was_live = LIVE[before] and job.slot ~= '0'
  if LIVE[state] and not was_live then
    counters.live(q, job, job.id, true)
    counters.bump(q.totals, 'live', 1)
    counters.bump(q.group_live, job.group, 1)
    counters.bump(q.group_load, job.group, 1)
  elseif was_live and not LIVE[state] then
    counters.free_slot(q, job)
  end
  job.state = state
end

return counters
