-- The beginning of the library: first the names that all files use and the context of one call, then the modules, then
-- the registered functions. Each of these is called with one key, <prefix>meta, which names the account's slot, and the
-- clock as its first argument: 0 = ask the server; '=<us>' = what the server would say (a simulation's clock); another
-- value is the corrected time as it is (a test drives the clock).
-- No function may assign to, or fill, a local of its module or a module's table: it would outlive the call.
local DAY = 86400000000
local STEP = 2000000
local NO_BATCH = '-'
local LIVE = { submitting = true, unconfirmed = true, running = true }
local ENDED = { completed = true, failed = true, canceled = true, dead = true }

-- Lua prints 1795602435580412 as 1.7956024355804e+15: every number becomes a string here.
local function int(n) return string.format('%.0f', n) end

-- There is no rollback: a wrong type must be found before the first write.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', expected a ' .. kind })
  end
end

-- A number of a hash; nil if the field is absent.
local function number(key, field, value)
  if not value then return nil end
  return tonumber(value) or error({ err = 'WRONGTYPE ' .. key .. ': its ' .. field .. ' is no number' })
end

-- Fields of a hash; the error names the key if it is no hash.
local function read_fields(key, ...)
  local f = redis.pcall('HMGET', key, ...)
  if not f.err then return f end
  error({ err = string.find(f.err, 'WRONGTYPE', 1, true) and 'WRONGTYPE ' .. key .. ' is no hash' or f.err })
end

-- One damaged record, lane or batch must not stop a script for the others, least of all half-way. `try` handles one of
-- them; the first error is raised once all is saved. Inside it, reads that may fail come before the first write.
-- Returns true and the function's result if there was no error.
local function try(q, act, ...)
  local is_done, result = pcall(act, ...)
  if is_done then return true, result end
  q.damage = q.damage or result
  return false
end

-- The error text says so (runqueue/store/damage.py).
local function raise_damage(q)
  local damage, OTHERS = q.damage, ' (the others go on)'
  if not damage then return end
  if type(damage) == 'table' then damage.err = damage.err .. OTHERS else damage = damage .. OTHERS end
  error(damage, 0)
end

-- Sets something damaged aside: 'job <id>', or 'lane <batch> <priority>:<group>'. See recheck.lua.
local function set_aside(q, what) redis.pcall('SADD', q.prefix .. 'damaged', what) end

-- The time as text, made once: a script of a hundred jobs writes it some hundred times. clock.lua may change `q.now`.
local function now_text(q)
  if q.text_is_of ~= q.now then q.text_is_of, q.now_as_text = q.now, int(q.now) end
  return q.now_as_text
end

-- Every tick, twice a second, checks the clock. Without ticks for a while it may have been set meanwhile: decisions by
-- time wait for the next tick.
local function clock_is_stale(q) return q.believed and math.abs(q.now - q.believed) > 5000000 end

-- True if a time that is counted from now may turn out wrong; then it is set right, see clock.lua.
-- Field of meta: has_relative = 1 while there are such times.
local function note_relative(q)
  if not clock_is_stale(q) then return false end
  redis.call('HSET', q.meta, 'has_relative', '1')
  return true
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

-- The context of one call: what it has read, and what `changes.save` will write. Functions take it as their first
-- argument.
local function open(keys, args)
  local q = {
    prefix = string.sub(keys[1], 1, -5), meta = keys[1], args = args,
    -- Counters are gathered and written once a script: 100 items cost one HINCRBY a field, not 100.
    totals = {}, batch_totals = {}, group_live = {}, freed = false,
    group_load = {}, -- ready jobs and slots: the order of the busiest groups
    charges = {}, -- waiting jobs and bytes, by the owner of the quota (quotas.lua)
    removed_members = {}, ended_ids = {},
    adopted_runs = 0, accepted_runs = 0, relays_due = false, list_joins = {},
    webhooks_reported = 0, webhooks_missed = 0, webhook_durations = {}, run_durations = {}, -- trust.lua
    time_buckets = {}, -- times.lua
    -- Lanes and batches.
    canceled_batches = {}, running_lanes = {}, checked_lanes = {}, sealed_batches = {}, groups_in_line = {},
    -- Keys: `key_moves` says by key which members have it now, or have it no more (jobs, and orphan runs as
    -- 'stray <run>'); `key_states` has what is known of keys with limits. `key_turn` is the lane of keys that a claim takes
    -- from now, `key_turn.at` its place in line; `any_key_held` says whether jobs wait for keys, nil = not read yet.
    -- `limits_by_key` = by key or pattern, if there are few; false = they are read key by key.
    key_moves = {}, key_states = {}, parsed_limits = {},
    -- Budgets: { job, member, is it live }, and { job, steps } of runs that ended.
    step_commits = {}, step_spends = {}, budget_records = {}, budget_states = {}, budgets_by_job = {},
    -- What this call may still look at: waiting lanes and their keys; lanes of groups; what a paused group's names are
    -- compared with; keys, places in line and lanes of which waits.lua tells. `key_commands` counts what is run for keys,
    -- so that a claim ends in time.
    key_commands = 0, key_looks_left = 50, lane_looks_left = 3000, paused_names_left = 20000, paused_lanes_left = 200,
    wait_keys_left = 500, wait_places_left = 500, wait_lanes_left = 100, wait_keys_seen = {}, known_waits = {},
  }
  expect(q.meta, 'hash')
  read_clock(q, args[1])
  return q
end
