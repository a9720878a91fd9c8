-- Makes the polls of running jobs due at once (a cancel was sent: the GET confirms it), or soon (an end that may not be
-- final).
-- ARGV  now_us, after_us, then ids.   Reply: how many were running
local due, known = int(NOW + tonumber(ARGV[2])), 0
for i = 3, #ARGV do
  if redis.call('ZSCORE', PREFIX .. 'poll', ARGV[i]) then
    redis.call('ZADD', PREFIX .. 'poll', due, ARGV[i])
    known = known + 1
  end
end
return known
