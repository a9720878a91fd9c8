-- use: limits capacity
-- The account at a glance. ARGV  now_us
-- Reply { now_us, counters, limits, meta (each as HGETALL), oldest_ready_us (0 none), processes alive,
--         strays, those of them that take a slot, submissions a second while a 429 slows them down ('' else),
--         submissions and calls permitted now (-1 no limit), capacity, jobs in line by priority (0 to 3) }
-- The oldest ready job is looked for at the heads of at most 256 lanes, and the jobs of no more are counted: the cost
-- does not grow with the number of jobs waiting.
local limits = read_limits()
local function permitted(name, rate)
  if rate == 0 then return -1 end
  return room_now(rate, limits.burst, (owed_until(name, interval_of(rate), limits.burst)))
end

local MAX_LANES, HEADS = 256, 8
local oldest, visited = 0, 0
local in_line = { 0, 0, 0, 0 }
for priority = 0, 3 do
  for _, group in ipairs(redis.call('ZRANGE', PREFIX .. 'ring:' .. priority, 0, MAX_LANES - 1)) do
    for _, batch in ipairs(redis.call('LRANGE', lanes_key(priority, group), 0, MAX_LANES - 1)) do
      if visited >= MAX_LANES then break end
      visited = visited + 1
      if lane_runs(batch) then
        in_line[priority + 1] = in_line[priority + 1] + redis.call('LLEN', lane_key(priority, group, batch))
      end
      -- A few heads may be canceled jobs that no claim has met yet.
      for _, id in ipairs(redis.call('LRANGE', lane_key(priority, group, batch), 0, HEADS - 1)) do
        local f = redis.call('HMGET', job_key(id), 'state', 'created', 'ready_at')
        if f[1] == 'ready' then
          local since = tonumber(f[3] or f[2])
          if oldest == 0 or since < oldest then oldest = since end
          break
        end
      end
    end
  end
end
return { int(NOW), redis.call('HGETALL', COUNTERS), redis.call('HGETALL', PREFIX .. 'limits'),
  redis.call('HGETALL', META), int(oldest),
  redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '+inf'),
  redis.call('HLEN', PREFIX .. 'strays'), redis.call('ZCARD', STRAY_LOOKS),
  limits.dispatch ~= limits.full_dispatch and string.format('%.3f', limits.dispatch) or '',
  permitted('dispatch', limits.dispatch),
  permitted('request', limits.requests_per_second), capacity(), in_line }
