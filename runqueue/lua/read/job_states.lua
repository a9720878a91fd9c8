-- use: lanes losses strays
-- Reads the states of many jobs. ARGV  now_us, then ids (≤ 1,000)
-- Reply { now_us, per id: state | '' (no such job) | 'unconfirmed:<since_us>' }
local reply = { int(NOW) }
local function has_stray(id) return has_strays() and redis.call('HEXISTS', STRAY_JOBS, id) == 1 end
for i = 2, #ARGV do
  local f = redis.call('HMGET', job_key(ARGV[i]), 'state', 'batch', 'lost_claim')
  local state = f[1] or ''
  if f[2] and (state == 'ready' or state == 'scheduled') and batch_canceled(f[2])
    and not (is_recovering() or f[3] or has_stray(ARGV[i])) then
    state = 'canceled' -- the sweep has not reached it yet; one that may have a run is not over (lib/jobs/unwanted.lua)
  end
  if state == 'unconfirmed' then
    state = state .. ':' .. (redis.call('ZSCORE', PREFIX .. 'unconfirmed', ARGV[i])
      or redis.call('ZSCORE', PREFIX .. 'parked', ARGV[i]) or int(NOW))
  end
  reply[#reply + 1] = state
end
return reply
