-- use: counters lanes changes job_record
-- Moves scheduled jobs whose time has come: scheduled → ready (canceled if its batch was). One that was deferred for a
-- budget (budgets.lua) has waited in its lane before: it goes to the head.
-- ARGV  now_us, limit.   Reply: how many were due (as many as the limit = call again)
local DUE = q.prefix .. 'due'
if clock_is_stale(q) then return 0 end

local ids = redis.call('ZRANGEBYSCORE', DUE, '-inf', int(q.now), 'LIMIT', 0, q.args[2])
local ready = 0
local function promote(id)
  local job = job_record.read(q, id)
  if not job or job.state ~= 'scheduled' then return end
  if job.batch ~= NO_BATCH then
    redis.call('SADD', q.prefix .. 'batch_lanes:' .. job.batch, job.priority .. ':' .. job.group)
  end
  counters.count_state(q, job, 'ready')
  redis.call('HSET', job_key(q, id), 'state', 'ready', unpack(job.was_deferred and {} or { 'ready_at', int(q.now) }))
  redis.call('HDEL', job_key(q, id), 'run_at', 'reason')
  lanes.push(q, job.priority, job.group, lanes.of(job), { id }, job.was_deferred)
  ready = ready + 1
end
for _, id in ipairs(ids) do
  counters.remove_later(q, 'due', id)
  promote(id)
end
changes.save(q)
if ready > 0 and lanes.anything_ready(q) then lanes.wake(q) end
return #ids
