-- Reads the states of many jobs. ARGV  now_us, then ids (≤ 1,000)
-- Reply { now_us, per id: state | '' (no such job) | 'unconfirmed:<since_us>' }
local reply = { int(NOW) }
for i = 2, #ARGV do
  local state = redis.call('HGET', job_key(ARGV[i]), 'state') or ''
  if state == 'unconfirmed' then
    state = state .. ':' .. (redis.call('ZSCORE', PREFIX .. 'unconfirmed', ARGV[i]) or int(NOW))
  end
  reply[#reply + 1] = state
end
return reply
