-- The account's limits, shared by every process: GCRA (ITU-T I.371) in integer microseconds, in the
-- form "at most N now, and when the next is due" (go-redis/redis_rate's AllowAtMost is the model).
local LIMITS = PREFIX .. 'limits'
local FIRST_CUT, FURTHER_CUT, SLOWEST = 0.5, 0.7, 0.1 -- of the pace, see below
local read_limits, owed_until, interval_of, room_now, allowed, take, count_dispatches
do -- a scope, since a script has at most 200 local names
  local MAX_PERMIT_AGE = 60000000

  -- The pace: while the server answers that submissions come too fast (429), all workers share a lower rate.
  -- The first 429 cuts it to a half, each further one to 70 % of its value then. It is back at 97 % of the rate that
  -- was too fast after a second and a half, and grows from there by half a percent a second: most of the time it
  -- is near the rate that the server accepts. A rate that the server names is believed: the pace begins just below
  -- it and grows by a quarter of a percent a second.
  -- Fields of meta: pace_top (the rate that was too fast), pace_at (when), pace_cut (what was left of it), or
  -- pace_named = 1 (by the server).
  local RECOVERY, CREEP, CREEP_NAMED, NEAR, NEAR_NAMED = 1.5, 0.005, 0.0025, 0.97, 0.95

  local function read_pace()
    local f = redis.call('HMGET', META, 'pace_top', 'pace_at', 'pace_named', 'pace_cut')
    if not f[1] then return nil end
    local top, age = tonumber(f[1]), math.max(0, NOW - tonumber(f[2])) / 1000000
    if f[3] == '1' then return top * (NEAR_NAMED + CREEP_NAMED * age), top end
    local cut = tonumber(f[4])
    if age < RECOVERY then return top * (cut + (NEAR - cut) * age / RECOVERY), top end
    -- Half a percent a second for a minute, then faster: a rate that was too fast then may be accepted by now.
    local creep = CREEP * (age - RECOVERY)
    if age > 60 then creep = creep * age / 60 end
    return top * (NEAR + creep), top
  end

  -- A value set live overrides the one seeded from a worker's environment; 0 = no limit.
  function read_limits()
    local names = { 'dispatches_per_second', 'burst_size', 'concurrent_runs', 'requests_per_second',
      'webhooks_per_second' }
    local asked = {}
    for _, name in ipairs(names) do
      asked[#asked + 1] = 'live:' .. name
      asked[#asked + 1] = 'env:' .. name
    end
    local f = redis.call('HMGET', LIMITS, unpack(asked))
    local limits = {}
    for i, name in ipairs(names) do limits[name] = tonumber(f[2 * i - 1] or f[2 * i] or 0) end
    limits.burst = math.max(1, limits.burst_size)
    -- 30 % of the calls are kept for reads, so submissions get 70 % of the request rate at most.
    limits.dispatch = limits.dispatches_per_second
    local share = 0.7 * limits.requests_per_second
    if share > 0 and (limits.dispatch == 0 or limits.dispatch > share) then limits.dispatch = share end
    limits.full_dispatch = limits.dispatch
    local pace, top = read_pace()
    if pace and (limits.dispatch == 0 or pace < limits.dispatch) then
      limits.dispatch = math.max(pace, SLOWEST)
    end
    -- Removed once it limits nothing, or is four times the rate that was too fast.
    if pace and ((limits.full_dispatch > 0 and pace >= limits.full_dispatch) or pace > 4 * top) then
      limits.pace_is_over = true
    end
    return limits
  end

  -- When all calls made are worked off, never before now. The debt is a number of calls, not a time: when the rate
  -- changes, each of them takes longer, or less. Otherwise a pace cut to a half would let half a burst through at once.
  -- After a step back of the clock the limit must not block for longer than its burst lasts.
  -- Field of meta: interval:<name> (at which they were counted).
  function owed_until(name, interval, burst)
    local stored = tonumber(redis.call('GET', PREFIX .. 'gcra:' .. name) or 0)
    if stored <= NOW then return NOW, stored end
    local before, tat = tonumber(redis.call('HGET', META, 'interval:' .. name)), stored
    if before ~= interval then tat = NOW + math.ceil((stored - NOW) * interval / before) end
    return math.min(tat, NOW + burst * interval), stored
  end

  local function store_tat(name, interval, tat)
    redis.call('HSET', META, 'interval:' .. name, int(interval))
    redis.call('SET', PREFIX .. 'gcra:' .. name, int(tat), 'PX', int(math.ceil((tat - NOW + MAX_PERMIT_AGE) / 1000)))
  end

  function interval_of(rate) return math.ceil(1000000 / rate) end

  function room_now(rate, burst, tat)
    local interval = interval_of(rate)
    return math.max(0, math.floor((NOW + burst * interval - tat) / interval))
  end

  -- How many of `want` may go and, when that is fewer, when to ask again: as soon as half a burst may go, so that a
  -- fast limit does not cost one script call a job.
  function allowed(name, rate, burst, want)
    if rate == 0 or want < 1 then return want, 0 end
    local interval = interval_of(rate)
    local tat, stored = owed_until(name, interval, burst)
    if tat > NOW and tat ~= stored then store_tat(name, interval, tat) end
    local n = room_now(rate, burst, tat)
    if n >= want then return want, 0 end
    return n, tat + (n + math.max(1, math.floor(burst / 2)) - burst) * interval
  end

  -- Counts `n` calls; `allowed` was called in the same script.
  function take(name, rate, n)
    if rate == 0 or n < 1 then return end
    local interval = interval_of(rate)
    local stored = tonumber(redis.call('GET', PREFIX .. 'gcra:' .. name) or 0)
    store_tat(name, interval, math.max(stored, NOW) + n * interval)
  end

  -- Measures submissions second by second: the pace is cut to half of that rate if no limit gives one.
  function count_dispatches(n)
    local f = redis.call('HMGET', META, 'second', 'second_n')
    local second = int(math.floor(NOW / 1000000))
    if f[1] == second and tonumber(f[2]) then
      redis.call('HINCRBY', META, 'second_n', n)
    else
      redis.call('HSET', META, 'second', second, 'second_n', int(n), 'last_second_n', f[2] or '0')
    end
  end
end
