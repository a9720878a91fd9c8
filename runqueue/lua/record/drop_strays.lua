-- use: counters save record strays jobs
-- Removes orphan runs that are over, or that the server does not know.
-- ARGV  now_us, then run ids.   Reply: how many were dropped
local dropped = 0
pass_when_full()
local function drop(i)
  local told = redis.call('HGET', PREFIX .. 'strays', ARGV[i])
  if told then
    local job_id = string.match(told, '^%S+')
    forget_stray(ARGV[i], job_id)
    if redis.call('HEXISTS', runs_key(ARGV[i]), ARGV[i]) == 0 then keep_owner(ARGV[i], job_id) end
    dropped = dropped + 1
  end
  remove_later('cancels', 'stray ' .. ARGV[i])
end
for i = 2, #ARGV do try(drop, i) end
save()
raise_damage()
return dropped
