-- What every transition shares: the account's keys, the clock, counters and records. It and the parts that build
-- on it (see scripts.py) are put before each script. KEYS[1] = <prefix>meta and names the account's slot; ARGV[1] = now_us,
-- 0 meaning "ask the server", another value only when a test drives the clock.
local PREFIX = string.sub(KEYS[1], 1, -5)
local META, COUNTERS = KEYS[1], PREFIX .. 'counters'
local STRAY_JOBS, STRAY_LOOKS = PREFIX .. 'stray_jobs', PREFIX .. 'stray_looks'
local DAY = 86400000000
local NO_BATCH = '-'
local CHARGED, WAITS = PREFIX .. 'charged', { ready = true, scheduled = true }
local LIVE = { submitting = true, unconfirmed = true, running = true }
local ENDED = { completed = true, failed = true, canceled = true, dead = true }

-- Lua prints 1795602435580412 as 1.7956024355804e+15: every number becomes a string here.
local function int(n) return string.format('%.0f', n) end

-- There is no rollback: a wrong type must be met before the first write.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', expected a ' .. kind })
  end
end
expect(META, 'hash')
expect(COUNTERS, 'hash')
expect(CHARGED, 'hash')

-- A number of a hash, nil where it is not there.
local function number(key, field, value)
  if not value then return nil end
  return tonumber(value) or error({ err = 'WRONGTYPE ' .. key .. ': its ' .. field .. ' is no number' })
end

-- Fields of a hash; the error names the key where it is none.
local function read_fields(key, ...)
  local f = redis.pcall('HMGET', key, ...)
  if not f.err then return f end
  error({ err = string.find(f.err, 'WRONGTYPE', 1, true) and 'WRONGTYPE ' .. key .. ' is no hash' or f.err })
end

-- One damaged record, lane or batch must not keep the others of a script from what is done with them, half of it least
-- of all: `try` does it for one of them, and what went wrong first is raised once all is saved. Within it the reads that
-- may fail come before the first write. True, and what it returned, where nothing went wrong.
local try, raise_damage
do
  local damage
  function try(act, ...)
    local is_done, result = pcall(act, ...)
    if is_done then return true, result end
    damage = damage or result
    return false
  end
  -- The words say so (runqueue/store/damage.py).
  function raise_damage()
    if not damage then return end
    local OTHERS = ' (the others go on)'
    if type(damage) == 'table' then damage.err = damage.err .. OTHERS else damage = damage .. OTHERS end
    error(damage, 0)
  end
end

-- What is damaged goes out of the others' way: 'job <id>', or 'lane <batch> <priority>:<group>'. See recheck.lua.
local function set_aside(what) redis.pcall('SADD', PREFIX .. 'damaged', what) end

-- What the server's clock lost or gained by being set is made up for: see clock.lua. A time before the one that was
-- last believed is none: the clock was set back, and until the next tick makes up for that (`behind`) none passes.
local NOW, STEP, behind = tonumber(ARGV[1]), 2000000, 0
local believed -- the time that was last believed; nil where a test drives the clock, or nobody told one
if NOW == 0 then
  local time, clock = redis.call('TIME'), redis.call('HMGET', META, 'clock_lost', 'clock')
  NOW = tonumber(time[1]) * 1000000 + tonumber(time[2]) + tonumber(clock[1] or 0)
  believed = tonumber(clock[2])
  if believed and believed > NOW + STEP then NOW, behind = believed, believed - NOW end
end

-- The time as text, made once: a script of a hundred jobs writes it some hundred times. clock.lua may set it.
local told_now, now_told
local function now_text()
  if told_now ~= NOW then told_now, now_told = NOW, int(NOW) end
  return now_told
end

-- The clock is looked at with every tick, twice a second. When nobody has looked for a while it may have been
-- set meanwhile: what decides by time waits for the next tick.
local function clock_is_stale() return believed and math.abs(NOW - believed) > 5000000 end

-- Counters are gathered and written once a script: 100 items cost one HINCRBY a field, not 100.
local totals, batch_totals, group_live, freed = {}, {}, {}, false
local group_load = {} -- ready jobs and slots: what the busiest groups are told by
local charges = {} -- what waits, by who stored it (quotas.lua)
local removed, ended = {}, {}
local function bump(map, field, n) map[field] = (map[field] or 0) + n end

-- Takes a member off a zset when the script ends, all members of one zset in one call.
local function remove_later(zset, member)
  local members = removed[zset]
  if not members then
    members = {}
    removed[zset] = members
  end
  members[#members + 1] = member
end

-- A script whose first write frees memory may go on in a full server (what has ended must be
-- recorded); one that begins with a growing write is refused there, before anything is half done.
local function pass_when_full() redis.call('DEL', PREFIX .. 'nothing') end

local function job_key(id) return PREFIX .. 'job:' .. id end

local function read_job(id)
  local key = job_key(id)
  local f = redis.pcall('HMGET', key, 'state', 'attempt', 'priority', 'group', 'batch',
    'cancel', 'run_id', 'process', 'slot', 'started', 'deadline', 'runs', 'on_unconfirmed', 'deaths', 'via',
    'delivery', 'canary', 'ready_at', 'created', 'max_run', 'charged')
  if f.err then read_fields(key, 'state') end -- which says so
  if not f[1] then return nil end
  local attempt, runs, deaths = tonumber(f[2] or 0), tonumber(f[12] or 0), tonumber(f[14] or 0)
  if not (attempt and runs and deaths and tonumber(f[10] or 0) and tonumber(f[11] or 0) and tonumber(f[18] or 0)
    and tonumber(f[19] or 0) and tonumber(f[20] or 0)) then
    for at, field in pairs({ [2] = 'attempt', [10] = 'started', [11] = 'deadline', [12] = 'runs', [14] = 'deaths',
      [18] = 'ready_at', [19] = 'created', [20] = 'max_run' }) do
      number(key, field, f[at])
    end
  end
  return { id = id, state = f[1], attempt = attempt, priority = f[3] or '2',
    group = f[4] or 'default', batch = f[5] or NO_BATCH, cancel = f[6], run_id = f[7],
    process = f[8], slot = f[9], started = f[10], deadline = f[11], runs = runs,
    on_unconfirmed = f[13] or 'auto', deaths = deaths, via = f[15], delivery = f[16],
    canary = f[17], since = f[18] or f[19], max_run = f[20] and tonumber(f[20]), charged = f[21] }
end

-- Counts `n` jobs that begin in a state.
local function count_new(job, state, n)
  bump(totals, state .. ':' .. job.priority, n)
  if state == 'ready' then bump(group_load, job.group, n) end
  if job.batch ~= NO_BATCH then
    batch_totals[job.batch] = batch_totals[job.batch] or {}
    bump(batch_totals[job.batch], 'count:' .. state, n)
  end
end

local function free_slot(job)
  bump(totals, 'live', -1)
  bump(group_live, job.group, -1)
  bump(group_load, job.group, -1)
  freed = true
end

-- Charges who stored jobs with them, or with fewer; '-' = nobody but the account.
local function charge(who, jobs, bytes)
  bump(charges, 'bytes', bytes)
  if who == '-' then return end
  bump(charges, 'jobs:' .. who, jobs)
  bump(charges, 'bytes:' .. who, bytes)
end

-- A job that comes to a state in which it does not wait, or goes (`state` = nil), costs who stored it nothing more. What ends
-- without having been submitted costs nothing to send: its bytes are counted apart, and it is listed, until it is done
-- again or goes (quotas.lua).
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

-- Counts a job's change of state; the record itself is written by the caller, in one HSET.
local function count_state(job, state)
  local before = job.state
  if before == 'ready' and (job.deaths or 0) >= 2 then remove_later('suspects', job.id) end
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
    bump(totals, 'live', 1)
    bump(group_live, job.group, 1)
    bump(group_load, job.group, 1)
  elseif was_live and not LIVE[state] then
    free_slot(job)
  end
  job.state = state
end

-- Runs a command on a list of any length, for `unpack` takes 1,000 without harm; returns its last reply.
local function in_parts(command, key, list)
  local reply
  for first = 1, #list, 1000 do
    reply = redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
  return reply
end

local function runs_key(run_id)
  return PREFIX .. 'runs:' .. string.sub(redis.sha1hex(run_id), 1, 4)
end

-- A run that is over stays its job's, although the job gets another: it is never taken for a later one.
local function keep_earlier(job)
  if not job.run_id then return end
  local earlier = redis.call('HGET', job_key(job.id), 'earlier')
  redis.call('HSET', job_key(job.id), 'earlier', (earlier and earlier .. ' ' or '') .. job.run_id,
    'ran', int(job.attempt))
end
