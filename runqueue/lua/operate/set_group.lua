-- use: lanes groups paused_groups
-- Sets a group's share of the account, from now on: how many jobs of it may have a slot, and whether it is paused.
-- ARGV  now_us, group, cap ('' = as it is, 0 = none), paused ('' = as it is, 0 | 1)
-- Reply { cap (0 = none), paused (0 | 1), live, whether ready jobs wait (0 | 1) }
local group, cap, paused = ARGV[2], ARGV[3], ARGV[4]
local key = group_key(group)
expect(key, 'hash')
expect(PREFIX .. 'groups', 'set')
expect(PAUSED_LANES, 'set')
expect(PREFIX .. 'wake', 'list')
for priority = 0, 3 do expect(PREFIX .. 'ring:' .. priority, 'zset') end
pass_when_full()
if cap == '0' then redis.call('HDEL', key, 'cap') elseif cap ~= '' then redis.call('HSET', key, 'cap', cap) end
if paused == '0' then redis.call('HDEL', key, 'paused') elseif paused == '1' then redis.call('HSET', key, 'paused', '1') end
local f = redis.call('HMGET', key, 'cap', 'paused', 'live')
list_paused(group, f[2])
if f[1] or f[2] then
  redis.call('SADD', PREFIX .. 'groups', group)
  redis.call('PERSIST', key)
else
  redis.call('SREM', PREFIX .. 'groups', group)
  expire_group(group)
end
if f[2] then
  for priority = 0, 3 do
    local virtual = redis.call('ZSCORE', PREFIX .. 'ring:' .. priority, group)
    if virtual then ring_leave(priority, group, virtual, true) end
  end
else
  readmit(group) -- the next claim takes it out again if it is still at its cap or paused
end
local live = tonumber(f[3] or 0)
local waits = group_waits(group, loads_of({ group })[group] - live)
return { tonumber(f[1] or 0), f[2] and 1 or 0, live, waits and 1 or 0 }
