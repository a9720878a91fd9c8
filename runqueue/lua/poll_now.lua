-- Makes the polls of running jobs due at once (a cancel was sent: the GET confirms it).
-- ARGV  now_us, then ids.   Reply: how many were running
local known = 0
for i = 2, #ARGV do
  if redis.call('ZSCORE', PREFIX .. 'poll', ARGV[i]) then
    redis.call('ZADD', PREFIX .. 'poll', int(NOW), ARGV[i])
    known = known + 1
  end
end
return known
