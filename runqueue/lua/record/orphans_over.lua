-- use: orphans
-- Orphan runs that a poll saw end: they free their slots, and are still listed.
-- ARGV  now_us, then 2 a run: id, its figures ('' = not known; see run_figures.lua).   Reply: how many had a slot
local over = 0
for i = 2, #q.args, 2 do
  if redis.call('ZSCORE', q.prefix .. 'orphan_polls', q.args[i]) then
    orphans.is_over(q, q.args[i], q.args[i + 1])
    over = over + 1
  end
end
return over
