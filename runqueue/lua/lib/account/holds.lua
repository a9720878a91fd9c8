-- Ends a hold, except the wait that the server asked for.
local function end_hold()
  local asked = redis.call('HMGET', META, 'asked_until', 'asked_reason')
  redis.call('HDEL', META, 'hold_until', 'hold_step', 'hold_probe', 'probing', 'probe')
  if asked[1] and tonumber(asked[1]) > NOW then
    redis.call('HSET', META, 'hold_until', asked[1], 'hold_kind', 'rate', 'hold_reason', asked[2] or '')
  else
    redis.call('HDEL', META, 'hold_reason', 'asked_until', 'asked_reason')
  end
end

-- True if this is the probe that an ended hold let through, within its minute.
local function is_probe(job_id)
  local f = redis.call('HMGET', META, 'hold_until', 'probing', 'probe')
  return f[3] == job_id and f[1] == f[2] and tonumber(f[1] or 0) > NOW
end

-- Many failures in a row are the account's or the server's fault, not the jobs'. From `most` on, submissions are held;
-- when the hold ends, one job is let through as a probe, and the hold doubles if that fails. Returns whether a hold
-- was set.
local function count_trouble(name, n, most, first_us, longest_us, reason)
  if n == 0 then return false end
  local row = redis.call('HINCRBY', META, name, n)
  if row < most then return false end
  local f = redis.call('HMGET', META, 'hold_until', 'hold_person', 'hold_step', 'probing', 'asked_until')
  -- A probe's minute is no hold: its failure sets one.
  if f[2] or (tonumber(f[1] or 0) > NOW and f[1] ~= f[4]) then return false end
  local step = math.min(math.max(tonumber(f[3] or 0) * 2, first_us), longest_us)
  redis.call('HDEL', META, 'probing')
  redis.call('HSET', META, 'hold_until', int(math.max(NOW + step, tonumber(f[5] or 0))), 'hold_step', int(step),
    'hold_probe', '1', 'hold_kind', 'breaker',
    'hold_reason', int(row) .. ' in a row: ' .. reason)
  return true
end

-- Without a cap on runs nothing waits for a freed slot.
local function slots_are_scarce()
  local cap = redis.call('HMGET', PREFIX .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs')
  return tonumber(cap[1] or cap[2] or 0) > 0
end
