-- use: webhooks
-- The webhook grace: how long a run is left to its webhook. While webhooks arrive, a run is polled only when nearly
-- every run would be over (mean + 4 deviations of the last ones, as in RFC 6298); each missing one lowers
-- webhooks' health, and while that is low, runs are polled as if there were no receiver. A webhook that came just after a
-- poll undoes the loss.
-- Fields of meta: webhook_health (0 to 20; absent = 20), webhook_mean, webhook_deviation (microseconds); of every run,
-- however its end was seen: run_mean, run_floor, run_ended (microseconds), run_n. Of a job: missed (when).
local webhook_health = {}
local BEST, HEALTHY, LOST_BY_MISS = 20, 10, 6
local FIRST_GRACE, LEAST_GRACE, MOST_GRACE = 60000000, 30000000, 900000000
-- So many take Redis 9 ms; runs beyond them are polled when their grace is over.
local PULLED_IN = 2000
-- A webhook that comes so soon after a poll saw the end was only late. Later Skyvern is asked to send it again
-- (runs.lua): what comes then may be that copy, which is no evidence of Skyvern's own.
webhook_health.OUTRUN = 3000000

function webhook_health.grace(q)
  if q.webhook_grace then return q.webhook_grace end
  local f = redis.call('HMGET', q.meta, 'webhook_health', 'webhook_mean', 'webhook_deviation')
  if tonumber(f[1] or BEST) < HEALTHY then
    q.webhook_grace = 0
  elseif not f[2] then
    q.webhook_grace = FIRST_GRACE
  else
    q.webhook_grace = math.min(math.max(tonumber(f[2]) + 4 * tonumber(f[3]), LEAST_GRACE), MOST_GRACE)
  end
  return q.webhook_grace
end

-- Runs whose ends webhooks reported, with their durations; runs whose ends a poll found.
function webhook_health.webhook_came(q, job)
  q.webhooks_reported = q.webhooks_reported + 1
  -- A run that was adopted just now does not count; a clock that was set must not weigh too much.
  local took = q.now - tonumber(job.started or q.now)
  if took > 0 and not clock_is_stale(q) then
    q.webhook_durations[#q.webhook_durations + 1] = math.min(took, MOST_GRACE)
  end
end
function webhook_health.webhook_missed(q, job)
  q.webhooks_missed = q.webhooks_missed + 1
  redis.call('HSET', job_key(q, job.id), 'missed', int(q.now))
end
function webhook_health.webhook_came_late(q, job)
  local at = redis.call('HGET', job_key(q, job.id), 'missed')
  if not at then return end
  redis.call('HDEL', job_key(q, job.id), 'missed')
  if q.now - tonumber(at) <= webhook_health.OUTRUN then q.webhooks_reported = q.webhooks_reported + LOST_BY_MISS + 1 end
end

-- How long runs take, for lists and forecasts, also polled runs and those longer than any grace: their mean, the
-- shortest of the last few hundred (it grows toward the mean, so that one which failed at once is forgotten), and when
-- one last ended. Canceled runs do not count, nor those that end while the time is not sure.
local LAST_RUNS, FLOOR_CREEP = 16, 512
function webhook_health.run_took(q, job)
  local took = q.now - tonumber(job.started or q.now)
  if took > 0 and not job.cancel and not clock_is_stale(q) then q.run_durations[#q.run_durations + 1] = took end
end
local function save_run_times(q)
  local durations = rawget(q, 'run_durations')
  if not durations then return end
  q.run_durations = nil
  local f = redis.call('HMGET', q.meta, 'run_mean', 'run_floor', 'run_n')
  local mean, floor = tonumber(f[1] or durations[1]), tonumber(f[2] or durations[1])
  local n = tonumber(f[3] or 0)
  for _, took in ipairs(durations) do
    if n < LAST_RUNS then n = n + 1 end
    mean = mean + (took - mean) / n
    if mean > floor then floor = floor + (mean - floor) / FLOOR_CREEP end
    if took < floor then floor = took end
  end
  redis.call('HSET', q.meta, 'run_mean', int(mean), 'run_floor', int(floor), 'run_n', int(n), 'run_ended', int(q.now))
end

-- Writes what the script noted.
function webhook_health.save(q)
  save_run_times(q)
  local reported, missed = q.webhooks_reported, q.webhooks_missed
  if reported + missed == 0 then return end
  q.webhooks_reported, q.webhooks_missed = 0, 0
  local f = redis.call('HMGET', q.meta, 'webhook_health', 'webhook_mean', 'webhook_deviation')
  local before = tonumber(f[1] or BEST)
  local after = math.max(0, math.min(BEST, before + reported) - LOST_BY_MISS * missed)
  local mean, dev = tonumber(f[2]), tonumber(f[3])
  for _, took in ipairs(q.webhook_durations) do
    if not mean then
      mean, dev = took, took / 2
    else
      dev = dev + (math.abs(took - mean) - dev) / 16
      mean = mean + (took - mean) / 16
    end
  end
  redis.call('HSET', q.meta, 'webhook_health', int(after))
  if mean then redis.call('HSET', q.meta, 'webhook_mean', int(mean), 'webhook_deviation', int(dev)) end
  -- Webhooks are healthy no more: runs that were left to them are polled now. Once, since then they are polled as others.
  if before >= HEALTHY and after < HEALTHY then
    local left = redis.call('ZRANGEBYSCORE', q.prefix .. 'poll', '(' .. int(q.now), '+inf', 'LIMIT', 0, PULLED_IN)
    local due = {}
    for _, id in ipairs(left) do
      local is_left = webhooks.comes_to_us({ webhook_route = redis.call('HGET', job_key(q, id), 'webhook_route') })
      if is_left and not redis.call('ZSCORE', q.prefix .. 'listed', id) then
        due[#due + 1] = int(q.now)
        due[#due + 1] = id
      end
    end
    in_parts('ZADD', q.prefix .. 'poll', due)
  end
end

return webhook_health
