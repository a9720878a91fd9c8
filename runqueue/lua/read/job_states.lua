-- use: lanes losses orphans
-- flags: no-writes
-- Reads the states of many jobs. ARGV  now_us, then ids (≤ 1,000)
-- Reply { now_us, per id: state | '' (no such job) | 'unconfirmed:<since_us>' }
local reply = { int(q.now) }
local function has_orphan(id)
  return orphans.are_any(q) and redis.call('HEXISTS', q.prefix .. 'orphan_jobs', id) == 1
end
for i = 2, #q.args do
  local f = redis.call('HMGET', job_key(q, q.args[i]), 'state', 'batch', 'maybe_claimed_at')
  local state = f[1] or ''
  if f[2] and (state == 'ready' or state == 'scheduled') and lanes.batch_canceled(q, f[2])
    and not (losses.is_recovering(q) or f[3] or has_orphan(q.args[i])) then
    state = 'canceled' -- the sweep has not reached it yet (but see lib/jobs/ends_after_recovery.lua)
  end
  if state == 'unconfirmed' then
    state = state .. ':' .. (redis.call('ZSCORE', q.prefix .. 'unconfirmed', q.args[i])
      or redis.call('ZSCORE', q.prefix .. 'unconfirmed_no_slot', q.args[i]) or int(q.now))
  end
  reply[#reply + 1] = state
end
return reply
