-- The beginning of the library: first the names that all files use and the context of one call, then the modules, then
-- the registered functions. Each of these is called with one key, <prefix>meta, which names the account's slot, and the
-- clock as its first argument: 0 = ask the server; '=<us>' = what the server would say (a simulation's clock); another
-- value is the corrected time as it is (a test drives the clock).
-- No function may assign to, or fill, a local of its module or a module's table: it would outlive the call.
-- There is no rollback: see changes.lua. What is written at once goes to indexes before the record: an entry without a
-- record is passed over, a record without an entry is lost.
-- RETENTION, MOST_RETENTION and SURELY_RETAINED are those of runqueue/records/retention.py, in microseconds (store/scripts.py).
local DAY = 86400000000
local STEP = 2000000 -- smaller differences of clocks change nothing, see clock.lua
local NO_BATCH = '-'
local LIVE = { submitting = true, unconfirmed = true, running = true }
local ENDED = { completed = true, failed = true, canceled = true, dead = true }

-- Lua prints 1795602435580412 as 1.7956024355804e+15: every number becomes a string here. '%d' takes a third of the
-- time of '%.0f', and a job's life has a hundred of them.
local function int(n) return string.format(n % 1 == 0 and '%d' or '%.0f', n) end

-- The text of an error, as a command or Lua raises it.
local function words_of(err) return type(err) == 'table' and err.err or tostring(err) end

-- Every tick, once or twice a second, checks the clock. Without ticks for a while it may have been set meanwhile: decisions by
-- time wait for the next tick.
local function clock_is_stale(q) return q.believed and math.abs(q.now - q.believed) > 5000000 end

-- True if a time that is counted from now may turn out wrong; then it is set right, see clock.lua.
-- Field of meta: has_relative = 1 while there are such times.
local function note_relative(q)
  if not clock_is_stale(q) then return false end
  redis.call('HSET', q.meta, 'has_relative', '1')
  return true
end

-- The time as text: one for all jobs of a call.
local function now_text(q)
  if q.text_at ~= q.now then q.text_at, q.text = q.now, int(q.now) end
  return q.text
end

local function job_key(q, id) return q.prefix .. 'job:' .. id end

-- Runs a command on a list of any length, for `unpack` takes 1,000 without harm; returns its last reply.
local function in_parts(command, key, list)
  local reply
  for first = 1, #list, 1000 do
    reply = redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
  return reply
end

-- `now` corrects steps of the server's clock: see clock.lua. A time before the last believed one means that the clock
-- was set back: `now` stays at that one until the next tick corrects it (`behind`). `believed` = the time that was last
-- believed; nil if a test drives the clock, or none was reported. A test's clock may not be set.
local function read_clock(q, given)
  q.now, q.behind = tonumber(given), 0
  q.may_be_set = q.now == 0 or not q.now
  if not q.may_be_set then return end
  local clock = redis.call('HMGET', q.meta, 'clock_lost', 'clock')
  if q.now then
    local time = redis.call('TIME')
    q.now = tonumber(time[1]) * 1000000 + tonumber(time[2])
  else
    q.now = tonumber(string.sub(given, 2))
  end
  q.now = q.now + tonumber(clock[1] or 0)
  q.believed = tonumber(clock[2])
  if q.believed and q.believed > q.now + STEP then q.now, q.behind = q.believed, q.believed - q.now end
end

-- What a call collects, counts and remembers, as it is at first; a table is made when it is first used.
local AT_FIRST = {
  -- Counters are gathered and written once a script: 100 items cost one HINCRBY a field, not 100.
  totals = {}, batch_totals = {}, group_live = {}, freed = false,
  group_load = {}, -- ready jobs and slots: the order of the busiest groups
  group_credits = {}, -- credits of runs, by group (run_figures.lua)
  charges = {}, -- waiting jobs and bytes, by the owner of the quota (quotas.lua)
  put_members = {}, removed_members = {}, ended_ids = {},
  adopted_runs = 0, accepted_runs = 0, relays_due = false, list_joins = {},
  webhooks_reported = 0, webhooks_missed = 0, webhook_durations = {}, run_durations = {}, -- webhook_health.lua
  -- Lanes and batches.
  canceled_batches = {}, running_lanes = {}, sealed_batches = {}, groups_in_line = {},
  options_by_text = {}, -- of jobs that are submitted (intake.lua)
  -- Keys: `key_moves` says by key which members have it now, or have it no more (jobs, and orphan runs as
  -- 'orphan <run>'); `key_states` has what is known of keys with limits. `key_turn` is the lane of keys that a claim
  -- takes from now, `key_turn.at` its place in line; `any_key_held` says whether jobs wait for keys, nil = not read
  -- yet. `limits_by_key` = by key or pattern, if there are few; false = they are read key by key.
  key_moves = {}, freed_keys = {}, key_states = {}, parsed_limits = {},
  -- Budgets: { job, member, is it live }, and { job, figures } of runs that ended.
  step_commits = {}, step_spends = {}, budget_records = {}, budget_states = {}, budgets_by_job = {},
  -- What this call may still look at: waiting lanes and their keys; what a paused group's names are
  -- compared with; keys, places in line and lanes that waits.lua reads. `key_commands` counts what is run for keys,
  -- so that a claim ends in time.
  key_commands = 0, key_looks_left = 50, paused_names_left = 20000, paused_lanes_left = 200,
  wait_keys_left = 500, wait_places_left = 500, wait_lanes_left = 100, wait_keys_seen = {}, known_waits = {},
}
local CONTEXT = {
  __index = function(q, name)
    local first = AT_FIRST[name]
    if type(first) ~= 'table' then return first end
    first = {}
    q[name] = first
    return first
  end,
}

-- The context of one call: what it has read, and what `changes.save` will write. Functions take it as their first
-- argument. `at_end` = what a script has to do before that, whatever happens.
local function open(keys, args)
  local q = setmetatable({ prefix = string.sub(keys[1], 1, -5), meta = keys[1], args = args }, CONTEXT)
  read_clock(q, args[1])
  return q
end
