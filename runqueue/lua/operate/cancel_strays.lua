-- Has orphan runs canceled: the cancel consumer cancels them at Skyvern, and then removes them.
-- ARGV  now_us, then run ids.   Reply per run: 1 = will be canceled, -1 = no such orphan run
local reply = {}
pass_when_full()
for i = 2, #ARGV do
  if redis.call('HEXISTS', PREFIX .. 'strays', ARGV[i]) == 1 then
    redis.call('ZADD', PREFIX .. 'cancels', 'NX', int(NOW), 'stray ' .. ARGV[i])
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = -1
  end
end
return reply
