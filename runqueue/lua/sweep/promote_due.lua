-- use: counters lanes save record
-- Moves scheduled jobs whose time has come: scheduled → ready (canceled if its batch was).
-- Those that a strict budget could never fit are due once a budget is set or cleared (`over_budget_left`: so many, in steps).
-- ARGV  now_us, limit.   Reply: how many were due (as many as the limit = call again)
local DUE, OVER = PREFIX .. 'due', PREFIX .. 'over_budget'
expect(DUE, 'zset')
expect(OVER, 'zset')
pass_when_full()
if clock_is_stale() then return 0 end

local function make_due(id)
  local f = read_fields(job_key(id), 'state', 'reason')
  if f[1] ~= 'scheduled' or string.sub(f[2] or '', 1, #OVER_BUDGET) ~= OVER_BUDGET then return end
  redis.call('HSET', job_key(id), 'run_at', now_text())
  redis.call('ZADD', DUE, now_text(), id)
end
local left = tonumber(redis.call('HGET', META, 'over_budget_left') or 0)
if left > 0 then
  local popped = redis.call('ZPOPMIN', OVER, math.min(left, tonumber(ARGV[2])))
  for i = 1, #popped, 2 do
    if not try(make_due, popped[i]) then set_aside('job ' .. popped[i]) end
  end
  left = #popped > 0 and left - #popped / 2 or 0
  if left > 0 then redis.call('HSET', META, 'over_budget_left', int(left)) else redis.call('HDEL', META, 'over_budget_left') end
end
redis.call('ZREMRANGEBYSCORE', OVER, '-inf', int(NOW))

local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', int(NOW), 'LIMIT', 0, ARGV[2])
local ready = 0
local function promote(id)
  local job = read_job(id)
  if not job or job.state ~= 'scheduled' then return end
  expect_lane(job.priority, job.group, lane_of(job))
  if job.batch ~= NO_BATCH then
    redis.call('SADD', PREFIX .. 'batch_lanes:' .. job.batch, job.priority .. ':' .. job.group)
  end
  count_state(job, 'ready')
  redis.call('HSET', job_key(id), 'state', 'ready', 'ready_at', int(NOW))
  redis.call('HDEL', job_key(id), 'run_at', 'reason')
  push(job.priority, job.group, lane_of(job), { id }, false)
  ready = ready + 1
end
for _, id in ipairs(ids) do
  remove_later('due', id)
  if not try(promote, id) then set_aside('job ' .. id) end
end
save()
if ready > 0 and anything_ready() then wake() end
raise_damage()
return #ids
