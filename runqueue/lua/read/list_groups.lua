-- use: lanes groups
-- flags: no-writes
-- Reads the present state of groups.
-- ARGV  now_us, then the names
-- Reply per group: name, max_concurrent (0 = none), paused (0 | 1), live, ready (those of held batches, too)
local names = { unpack(q.args, 2) }
local loads, reply = groups.loads_of(q, names), {}
for _, group in ipairs(names) do
  local f = redis.call('HMGET', lanes.group_key(q, group), 'max_concurrent', 'paused', 'live')
  local live = tonumber(f[3] or 0)
  local ready = math.max(0, loads[group] - live)
  for _, value in ipairs({ group, tonumber(f[1] or 0), f[2] and 1 or 0, live, ready }) do
    reply[#reply + 1] = value
  end
end
return reply
