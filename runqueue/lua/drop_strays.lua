-- Strays that are over, or that the server does not know, need nobody's attention any more.
-- ARGV  now_us, then run ids.   Reply: how many were dropped
local dropped = 0
pass_when_full()
local function drop(i)
  local told = redis.call('HGET', PREFIX .. 'strays', ARGV[i])
  if told then
    forget_stray(ARGV[i], string.match(told, '^%S+'))
    dropped = dropped + 1
  end
  remove_later('cancels', 'stray ' .. ARGV[i])
end
for i = 2, #ARGV do try(drop, i) end
save()
raise_damage()
return dropped
