-- The account's limits, shared by every process: GCRA (ITU-T I.371) in integer microseconds, in the
-- form "at most N now, and when the next is due" (go-redis/redis_rate's AllowAtMost is the model).
local LIMITS = PREFIX .. 'limits'
local MAX_PERMIT_AGE = 60000000

-- A value set live wins over the one seeded from a worker's environment; 0 = no limit.
local function read_limits()
  local names = { 'dispatches_per_second', 'burst_size', 'concurrent_runs', 'requests_per_second' }
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
  return limits
end

-- Returns how many of `want` may go now and, when that is fewer, when to ask again: as soon as half
-- a burst may go, so that a fast limit does not cost one script call a job.
local function allowed(name, rate, burst, want)
  if rate == 0 or want < 1 then return want, 0 end
  local interval = math.ceil(1000000 / rate)
  local tat = tonumber(redis.call('GET', PREFIX .. 'gcra:' .. name) or 0)
  -- A clock that went back must not close the gate for longer than the burst it can hold.
  local latest = NOW + burst * interval
  if tat > latest then
    tat = latest
    redis.call('SET', PREFIX .. 'gcra:' .. name, int(tat), 'PX', int(math.ceil((tat - NOW + MAX_PERMIT_AGE) / 1000)))
  end
  tat = math.max(tat, NOW)
  local n = math.floor((NOW + burst * interval - tat) / interval)
  if n >= want then return want, 0 end
  n = math.max(0, n)
  return n, tat + (n + math.max(1, math.floor(burst / 2)) - burst) * interval
end

local function take(name, rate, n)
  if rate == 0 or n < 1 then return end
  local interval = math.ceil(1000000 / rate)
  local key = PREFIX .. 'gcra:' .. name
  local tat = math.max(tonumber(redis.call('GET', key) or 0), NOW) + n * interval
  redis.call('SET', key, int(tat), 'PX', int(math.ceil((tat - NOW + MAX_PERMIT_AGE) / 1000)))
end
