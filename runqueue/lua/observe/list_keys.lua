-- flags: no-writes
-- Reads the limits of keys, and the keys at which jobs wait.
-- ARGV  now_us, most (of each of the two)
-- Reply per key or pattern: name, limit ('' = none of its own), live, waiting, since (us: when the first job that waits was
--       enqueued; 0 = none waits), paused (us: until when; '' = it is not). Of a pattern for many keys the numbers are 0.
local most, reply, seen = tonumber(q.args[2]), {}, {}
local lanes_left = 2000 -- so many are counted

local function add(name, limit)
  if seen[name] then return end
  seen[name] = true
  local waits, since = q.prefix .. 'key_waits:' .. name, 0
  local lanes, waiting = redis.call('ZRANGE', waits, 0, math.min(lanes_left, 100)), 0
  lanes_left = math.max(0, lanes_left - #lanes)
  for _, lane in ipairs(lanes) do waiting = waiting + redis.call('LLEN', q.prefix .. 'lane:' .. lane) end
  local first = lanes[1] and redis.call('LINDEX', q.prefix .. 'lane:' .. lanes[1], 0)
  if first then since = tonumber(redis.call('HGET', job_key(q, first), 'created') or 0) end
  local paused = string.match(redis.call('GET', q.prefix .. 'key_pause:' .. name) or '', '^%d+')
  if paused and tonumber(paused) <= q.now then paused = '' end
  local live = redis.call('SCARD', q.prefix .. 'key:' .. name)
  for _, value in ipairs({ name, limit, live, waiting, int(since), paused or '' }) do reply[#reply + 1] = value end
end

local limits = redis.call('HGETALL', q.prefix .. 'key_limits')
for i = 1, math.min(#limits, 2 * most), 2 do add(limits[i], limits[i + 1]) end
for _, key in ipairs(redis.call('ZRANGE', q.prefix .. 'held_keys', 0, most - 1)) do add(key, '') end
return reply
