-- use: lanes groups paused_groups
-- Sets a group's share of the account, from now on: how many jobs of it may have a slot, and whether it is paused.
-- ARGV  now_us, group, max_concurrent ('' = as it is, 0 = none), paused ('' = as it is, 0 | 1)
-- Reply { max_concurrent (0 = none), paused (0 | 1), live, ready (those of held batches, too) }
local group, most, paused = q.args[2], q.args[3], q.args[4]
local key = lanes.group_key(q, group)
if most == '0' then redis.call('HDEL', key, 'max_concurrent') elseif most ~= '' then
  redis.call('HSET', key, 'max_concurrent', most)
end
if paused == '0' then
  redis.call('HDEL', key, 'paused')
elseif paused == '1' then
  redis.call('HSET', key, 'paused', '1')
end
local f = redis.call('HMGET', key, 'max_concurrent', 'paused', 'live')
paused_groups.list(q, group, f[2])
if f[1] or f[2] then
  redis.call('SADD', q.prefix .. 'groups', group)
  redis.call('PERSIST', key)
else
  redis.call('SREM', q.prefix .. 'groups', group)
  lanes.expire_group(q, group)
end
if f[2] then
  for priority = 0, 3 do
    local virtual = redis.call('ZSCORE', q.prefix .. 'ring:' .. priority, group)
    if virtual then lanes.ring_leave(q, priority, group, virtual) end
  end
else
  lanes.readmit(q, group) -- the next claim takes it out again if it is still at its cap or paused
end
local live = tonumber(f[3] or 0)
local ready = math.max(0, groups.loads_of(q, { group })[group] - live)
return { tonumber(f[1] or 0), f[2] and 1 or 0, live, ready }
