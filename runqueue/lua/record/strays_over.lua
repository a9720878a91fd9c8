-- use: save strays
-- Orphan runs that a poll saw end: they free their slots, and are still listed.
-- ARGV  now_us, then run ids.   Reply: how many had a slot
local over = 0
pass_when_full()
for i = 2, #ARGV do
  if redis.call('ZSCORE', STRAY_LOOKS, ARGV[i]) then
    stray_is_over(ARGV[i])
    over = over + 1
  end
end
save()
return over
