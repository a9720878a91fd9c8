-- Tells which runs have an owner. ARGV  now_us, then run ids (≤ 1,000)
-- Reply per run: the id of the job whose run it is, or that left it as a stray; '' = none that we know
local reply = {}
for i = 2, #ARGV do
  local stray = redis.call('HGET', PREFIX .. 'strays', ARGV[i])
  reply[#reply + 1] = redis.call('HGET', runs_key(ARGV[i]), ARGV[i]) or (stray and string.match(stray, '^%S+')) or ''
end
return reply
