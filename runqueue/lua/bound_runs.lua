-- Tells which runs have an owner. ARGV  now_us, then run ids (≤ 1,000)
-- Reply per run: the id of the job whose run it is, '' = none that we know
local reply = {}
for i = 2, #ARGV do
  reply[#reply + 1] = redis.call('HGET', runs_key(ARGV[i]), ARGV[i]) or ''
end
return reply
