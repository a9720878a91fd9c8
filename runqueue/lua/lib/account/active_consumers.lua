-- The active consumers of a stage: the process of each, and until when it counts as active. A consumer refreshes its
-- entry at least once a second, so a killed one is noticed within 1.5 s.
local active_consumers = {}
local STAYS_ACTIVE_US = 1500000
local STALE_TICK = 5000000

-- True while the process's lease holds (its name is in `processes` with a later deadline).
local function lease_holds(q, process)
  local deadline = redis.call('ZSCORE', q.prefix .. 'processes', process)
  return deadline and tonumber(deadline) > q.now
end

-- Enters or refreshes an active consumer; nil when it may continue, else the reply that ends it.
-- `tick_us` is the server's time in the message that started the consumer, 0 after the first script.
function active_consumers.enter(q, stage, process, tick_us)
  if (tick_us > 0 and q.now - tick_us > STALE_TICK) or clock_is_stale(q) then return { 'stale', int(q.now) } end
  if not lease_holds(q, process) then return { 'fenced', int(q.now) } end
  redis.call('ZADD', q.prefix .. 'active_consumers:' .. stage, int(q.now + STAYS_ACTIVE_US), process)
  redis.call('HDEL', q.meta, 'sent:' .. stage)
  return nil
end

function active_consumers.leave(q, stage, process)
  redis.call('ZREM', q.prefix .. 'active_consumers:' .. stage, process)
end

-- Removes a process's entries besides its lease and its claims.
function active_consumers.forget_process(q, process)
  for _, stage in ipairs({ 'submit', 'poll', 'cancel', 'reconcile', 'webhooks', 'callbacks', 'inbox', 'list', 'others',
    'details', 'schedules' }) do
    active_consumers.leave(q, stage, process)
  end
  redis.call('DEL', q.prefix .. 'wake:' .. process)
  redis.call('HDEL', q.prefix .. 'clocks', process)
end

return active_consumers
