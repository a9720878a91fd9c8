-- The active consumers of a stage: the process of each, and until when it counts as active. A consumer refreshes its
-- entry at least twice a second, so a killed one is noticed within 1.5 s.
local BOARD_STAYS = 1500000
local STALE_TICK = 5000000

-- True while the process's lease holds (its name is in `processes` with a later deadline).
local function lease_holds(process)
  local deadline = redis.call('ZSCORE', PREFIX .. 'processes', process)
  return deadline and tonumber(deadline) > NOW
end

-- Enters or refreshes an active consumer; nil when it may continue, else the reply that ends it.
-- `tick_us` is the server's time in the message that started the consumer, 0 after the first script.
local function board_enter(kind, process, tick_us)
  if (tick_us > 0 and NOW - tick_us > STALE_TICK) or clock_is_stale() then return { 'stale', int(NOW) } end
  if not lease_holds(process) then return { 'fenced', int(NOW) } end
  redis.call('ZADD', PREFIX .. 'board:' .. kind, int(NOW + BOARD_STAYS), process)
  redis.call('HDEL', META, 'sent:' .. kind)
  return nil
end

local function board_leave(kind, process) redis.call('ZREM', PREFIX .. 'board:' .. kind, process) end

-- Removes a process's entries besides its lease and its claims.
local function forget_process(process)
  for _, kind in ipairs({ 'submit', 'poll', 'cancel', 'reconcile', 'webhooks', 'callbacks', 'inbox', 'list' }) do
    board_leave(kind, process)
  end
  redis.call('DEL', PREFIX .. 'wake:' .. process, PREFIX .. 'alone:' .. process)
  redis.call('HDEL', PREFIX .. 'clocks', process)
  if redis.call('HGET', META, 'suspects_by') == process then
    redis.call('HDEL', META, 'suspects_by', 'suspects_until')
  end
end
