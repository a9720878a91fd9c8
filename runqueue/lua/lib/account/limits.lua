-- The account's limits, shared by every process: GCRA (ITU-T I.371) in integer microseconds, in the
-- form "at most N now, and when the next is due" (go-redis/redis_rate's AllowAtMost is the model).
local limits = {}
limits.FIRST_CUT, limits.FURTHER_CUT, limits.SLOWEST = 0.5, 0.7, 0.1 -- of the pace, see below
local MAX_PERMIT_AGE = 60000000
local FIRST_LIST = 5000000

-- The pace: while the server answers that submissions come too fast (429), all workers share a lower rate.
-- The first 429 cuts it to a half, each further one to 70 % of its value then. It is back at 97 % of the rate that
-- was too fast after a second and a half, and grows from there by half a percent a second: most of the time it
-- is near the rate that the server accepts. A rate that the server names is believed: the pace begins just below
-- it and grows by a quarter of a percent a second.
-- Fields of meta: pace_top (the rate that was too fast), pace_at (when), pace_cut (what was left of it), or
-- pace_named = 1 (by the server).
local RECOVERY, CREEP, CREEP_NAMED, NEAR, NEAR_NAMED = 1.5, 0.005, 0.0025, 0.97, 0.95

local function read_pace(q)
  local f = redis.call('HMGET', q.meta, 'pace_top', 'pace_at', 'pace_named', 'pace_cut')
  if not f[1] then return nil end
  local top, age = tonumber(f[1]), math.max(0, q.now - tonumber(f[2])) / 1000000
  if f[3] == '1' then return top * (NEAR_NAMED + CREEP_NAMED * age), top end
  local cut = tonumber(f[4])
  if age < RECOVERY then return top * (cut + (NEAR - cut) * age / RECOVERY), top end
  -- Half a percent a second for a minute, then faster: a rate that was too fast then may be accepted by now.
  local creep = CREEP * (age - RECOVERY)
  if age > 60 then creep = creep * age / 60 end
  return top * (NEAR + creep), top
end

-- A value set live overrides the one seeded from a worker's environment; 0 = no limit.
local NAMES = { 'submissions_per_second', 'burst_size', 'concurrent_runs', 'requests_per_second',
  'webhooks_per_second' }
local FIELDS = { 'live:submissions_per_second', 'env:submissions_per_second', 'live:burst_size', 'env:burst_size',
  'live:concurrent_runs', 'env:concurrent_runs', 'live:requests_per_second', 'env:requests_per_second',
  'live:webhooks_per_second', 'env:webhooks_per_second', 'env:share_capacity' }
function limits.read(q)
  local f, limit = redis.call('HMGET', q.prefix .. 'limits', unpack(FIELDS)), {}
  for i = 1, #NAMES do limit[NAMES[i]] = tonumber(f[2 * i - 1] or f[2 * i] or 0) end
  limit.burst = math.max(1, limit.burst_size)
  limit.is_shared = f[#FIELDS] == '1' and limit.concurrent_runs > 0
  -- 30 % of the calls are kept for reads, so submissions get 70 % of the request rate at most.
  limit.submissions = limit.submissions_per_second
  local share = 0.7 * limit.requests_per_second
  if share > 0 and (limit.submissions == 0 or limit.submissions > share) then limit.submissions = share end
  limit.full_submissions = limit.submissions
  local pace, top = read_pace(q)
  if pace and (limit.submissions == 0 or pace < limit.submissions) then
    limit.submissions = math.max(pace, limits.SLOWEST)
  end
  -- Removed once it limits nothing, or is four times the rate that was too fast.
  if pace and ((limit.full_submissions > 0 and pace >= limit.full_submissions) or pace > 4 * top) then
    limit.pace_is_over = true
  end
  return limit
end

-- How many slots a plan of `most` leaves us, and how many live runs of others the last list showed (nil = not believed
-- any more, or not read): where the plan is shared (`env:share_capacity`), they take slots, but never the last.
-- Fields of meta: others (live runs of others), others_until (for how long that is believed), others_at (when the next
-- list is due), others_waited (since when claims have waited for the first list).
function limits.slots_beside_others(q, most)
  local f = redis.call('HMGET', q.meta, 'others', 'others_until')
  local others = tonumber(f[2] or 0) > q.now and tonumber(f[1]) or nil
  return math.max(1, most - (others or 0)), others
end

function limits.slots(q, limit)
  if not limit.is_shared then return limit.concurrent_runs end
  return limits.slots_beside_others(q, limit.concurrent_runs)
end

-- Has claims wait for the first list, a few seconds at most: they would take the slots that others have. True = wait.
function limits.wait_for_list(q)
  redis.call('HSETNX', q.meta, 'others_waited', int(q.now))
  return q.now - tonumber(redis.call('HGET', q.meta, 'others_waited')) < FIRST_LIST
end

-- When all calls made are worked off, never before now. The debt is a number of calls, not a time: when the rate
-- changes, each of them takes longer, or less. Otherwise a pace cut to a half would let half a burst through at once.
-- After a step back of the clock the limit must not block for longer than its burst lasts.
-- Field of meta: interval:<name> (at which they were counted).
function limits.owed_until(q, name, interval, burst)
  local stored = tonumber(redis.call('GET', q.prefix .. 'gcra:' .. name) or 0)
  if stored <= q.now then return q.now, stored end
  local before, tat = tonumber(redis.call('HGET', q.meta, 'interval:' .. name)), stored
  if before and before ~= interval then
    tat = q.now + math.ceil((stored - q.now) * interval / before)
  end
  return math.min(tat, q.now + burst * interval), stored
end

local function store_tat(q, name, interval, tat)
  redis.call('HSET', q.meta, 'interval:' .. name, int(interval))
  redis.call('SET', q.prefix .. 'gcra:' .. name, int(tat), 'PX', int(math.ceil((tat - q.now + MAX_PERMIT_AGE) / 1000)))
end

function limits.interval_of(rate) return math.ceil(1000000 / rate) end

function limits.room_now(q, rate, burst, tat)
  local interval = limits.interval_of(rate)
  return math.max(0, math.floor((q.now + burst * interval - tat) / interval))
end

-- How many of `want` may go and, when that is fewer, when to ask again: as soon as half a burst may go, so that a
-- fast limit does not cost one script call a job.
function limits.allowed(q, name, rate, burst, want)
  if rate == 0 or want < 1 then return want, 0 end
  local interval = limits.interval_of(rate)
  local tat, stored = limits.owed_until(q, name, interval, burst)
  if tat > q.now and tat ~= stored then store_tat(q, name, interval, tat) end
  local n = limits.room_now(q, rate, burst, tat)
  if n >= want then return want, 0 end
  return n, tat + (n + math.max(1, math.floor(burst / 2)) - burst) * interval
end

-- Counts `n` calls; `allowed` was called in the same script.
function limits.take(q, name, rate, n)
  if rate == 0 or n < 1 then return end
  local interval = limits.interval_of(rate)
  local stored = tonumber(redis.call('GET', q.prefix .. 'gcra:' .. name) or 0)
  store_tat(q, name, interval, math.max(stored, q.now) + n * interval)
end

-- Measures submissions second by second: the pace is cut to half of that rate if no limit gives one.
function limits.count_submissions(q, n)
  local f = redis.call('HMGET', q.meta, 'second', 'second_n')
  local second = int(math.floor(q.now / 1000000))
  if f[1] == second and tonumber(f[2]) then
    redis.call('HINCRBY', q.meta, 'second_n', n)
  else
    redis.call('HSET', q.meta, 'second', second, 'second_n', int(n), 'last_second_n', f[2] or '0')
  end
end

return limits
