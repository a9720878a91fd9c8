-- use: retention
-- flags: no-writes
-- Reads what is known of a job's life. ARGV  now_us, id
-- Reply { record as HGETALL ({} = no such job), then, each '' if absent: when it became unconfirmed,
--         the next search for its run, the next poll, the next try of its webhook, then when its batch was
--         sealed, the stored body ('' where that is longer than 64 KiB), and when it will be removed }
local id, BODY, LONGEST = q.args[2], q.prefix .. 'body:' .. q.args[2], 65536
local record = redis.call('HGETALL', job_key(q, id))
local function score(...)
  for _, zset in ipairs({ ... }) do
    local found = redis.call('ZSCORE', q.prefix .. zset, id)
    if found then return found end
  end
  return ''
end
local function removed_at()
  local f = redis.call('HMGET', job_key(q, id), 'state', 'ended', 'delivery')
  if not (ENDED[f[1]] and f[2]) then return '' end
  local duration = retention.read(q)[f[1]]
  return int(f[2] + (f[3] == 'pending' and math.max(duration, RETENTION) or duration))
end
local batch = redis.call('HGET', job_key(q, id), 'batch')
local sealed = batch and redis.call('HGET', q.prefix .. 'batch:' .. batch, 'sealed_at')
return { record, score('unconfirmed', 'unconfirmed_no_slot'), score('reconcile'), score('poll'), score('relays',
  'watches'),
  sealed or '', redis.call('STRLEN', BODY) <= LONGEST and redis.call('GET', BODY) or '', removed_at() }
