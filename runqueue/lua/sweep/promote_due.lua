-- use: counters lanes save record
-- Moves scheduled jobs whose time has come: scheduled → ready (canceled if its batch was). One that was put aside for a
-- budget (budgets.lua) has waited in its lane before: it goes to the head.
-- ARGV  now_us, limit.   Reply: how many were due (as many as the limit = call again)
local DUE = PREFIX .. 'due'
expect(DUE, 'zset')
pass_when_full()
if clock_is_stale() then return 0 end

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
  redis.call('HSET', job_key(id), 'state', 'ready', unpack(job.was_aside and {} or { 'ready_at', int(NOW) }))
  redis.call('HDEL', job_key(id), 'run_at', 'reason')
  push(job.priority, job.group, lane_of(job), { id }, job.was_aside)
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
