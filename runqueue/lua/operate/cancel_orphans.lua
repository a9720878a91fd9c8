-- Has orphan runs canceled: the cancel consumer cancels them at Skyvern, and then removes them.
-- ARGV  now_us, then run ids.   Reply per run: 1 = will be canceled, -1 = no such orphan run
local reply = {}
for i = 2, #q.args do
  if redis.call('HEXISTS', q.prefix .. 'orphans', q.args[i]) == 1 then
    redis.call('ZADD', q.prefix .. 'cancels', 'NX', int(q.now), 'orphan ' .. q.args[i])
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = -1
  end
end
return reply
