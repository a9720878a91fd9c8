-- use: lanes losses strays
-- flags: no-writes
-- Reads the states of many jobs. ARGV  now_us, then ids (≤ 1,000)
-- Reply { now_us, per id: state | '' (no such job) | 'unconfirmed:<since_us>' }
local reply = { int(q.now) }
local function has_stray(id) return strays.are_any(q) and redis.call('HEXISTS', q.prefix .. 'stray_jobs', id) == 1 end
for i = 2, #q.args do
  local f = redis.call('HMGET', job_key(q, q.args[i]), 'state', 'batch', 'lost_claim')
  local state = f[1] or ''
  if f[2] and (state == 'ready' or state == 'scheduled') and lanes.batch_canceled(q, f[2])
    and not (losses.is_recovering(q) or f[3] or has_stray(q.args[i])) then
    state = 'canceled' -- the sweep has not reached it yet; one that may have a run is not over (lib/jobs/unwanted.lua)
  end
  if state == 'unconfirmed' then
    state = state .. ':' .. (redis.call('ZSCORE', q.prefix .. 'unconfirmed', q.args[i])
      or redis.call('ZSCORE', q.prefix .. 'parked', q.args[i]) or int(q.now))
  end
  reply[#reply + 1] = state
end
return reply
