-- Ends a hold, except the wait that the server asked for.
local holds = {}
function holds.end_hold(q)
  local asked = redis.call('HMGET', q.meta, 'asked_until', 'asked_reason')
  redis.call('HDEL', q.meta, 'hold_until', 'hold_step', 'hold_probe', 'probing', 'probe')
  if asked[1] and tonumber(asked[1]) > q.now then
    redis.call('HSET', q.meta, 'hold_until', asked[1], 'hold_kind', 'rate', 'hold_reason', asked[2] or '')
  else
    redis.call('HDEL', q.meta, 'hold_reason', 'asked_until', 'asked_reason')
  end
end

-- True if this is the probe that an ended hold let through, within its minute.
function holds.is_probe(q, job_id)
  local f = redis.call('HMGET', q.meta, 'hold_until', 'probing', 'probe')
  return f[3] == job_id and f[1] == f[2] and tonumber(f[1] or 0) > q.now
end

-- Many failures in a row are the account's or the server's fault, not the jobs'. From `most` on, submissions are held;
-- when the hold ends, one job is let through as a probe, and the hold doubles if that fails. Returns whether a hold
-- was set.
function holds.count_trouble(q, name, n, most, first_us, longest_us, reason)
  if n == 0 then return false end
  local row = redis.call('HINCRBY', q.meta, name, n)
  if row < most then return false end
  local f = redis.call('HMGET', q.meta, 'hold_until', 'hold_person', 'hold_step', 'probing', 'asked_until')
  -- A probe's minute is no hold: its failure sets one.
  if f[2] or (tonumber(f[1] or 0) > q.now and f[1] ~= f[4]) then return false end
  local step = math.min(math.max(tonumber(f[3] or 0) * 2, first_us), longest_us)
  redis.call('HDEL', q.meta, 'probing')
  redis.call('HSET', q.meta, 'hold_until', int(math.max(q.now + step, tonumber(f[5] or 0))), 'hold_step', int(step),
    'hold_probe', '1', 'hold_kind', 'breaker',
    'hold_reason', int(row) .. ' in a row: ' .. reason)
  return true
end

-- Without a cap on runs nothing waits for a freed slot.
function holds.slots_are_scarce(q)
  local limit = redis.call('HMGET', q.prefix .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs')
  return tonumber(limit[1] or limit[2] or 0) > 0
end

return holds
