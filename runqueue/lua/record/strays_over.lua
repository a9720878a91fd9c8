-- use: save strays
-- Orphan runs that a poll saw end: they free their slots, and are still listed.
-- ARGV  now_us, then 2 a run: id, steps ('' = not known).   Reply: how many had a slot
local over = 0
pass_when_full()
for i = 2, #ARGV, 2 do
  if redis.call('ZSCORE', STRAY_LOOKS, ARGV[i]) then
    stray_is_over(ARGV[i], tonumber(ARGV[i + 1]))
    over = over + 1
  end
end
save()
return over
