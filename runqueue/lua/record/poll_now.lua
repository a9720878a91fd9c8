-- Makes the polls of running jobs due at once (a cancel was sent: the GET confirms it), or soon (an end that may not be
-- final).
-- ARGV  now_us, after_us, then ids.   Reply: how many were running
local due, known = int(q.now + tonumber(q.args[2])), 0
for i = 3, #q.args do
  if redis.call('ZSCORE', q.prefix .. 'poll', q.args[i]) then
    redis.call('ZADD', q.prefix .. 'poll', due, q.args[i])
    known = known + 1
  end
end
return known
