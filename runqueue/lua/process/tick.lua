-- use: lanes server clock orphans limits
-- The leaderless ticker: the process that takes the slot sends the due messages.
-- ARGV  now_us, process, woken (1 = a wake-up was taken: bypasses the slot, submit only), interval_us,
--       passed_us (the process's monotonic clock: only differences count)
-- Reply { 'wait', now_us }: another process has this slot
--       { 'wake', now_us }: the woken process has the active consumer itself
--       { 'passed', now_us }: the wake-up was handed to a process that has an active consumer
--       { 'send', now_us, per stage that is due (or 'sweep'): stage, messages }
--       { 'idle', now_us }: nothing is there that could come due
local JOBS_A_CONSUMER, MAX_LANES = 100, 64
local LINES_A_JOB = 100 -- lines of the inbox cost no call to Skyvern: so many go for one job
local SEND_AGAIN = 50000
local SWEEP_EVERY, TIDY_EVERY = 1000000, 30000000
-- What there is of an account that is not idle.
local RINGS = { 'ring:0', 'ring:1', 'ring:2', 'ring:3', 'listing', 'held_keys', 'held_budgets', 'deferred_for' }
local INDEXES = { 'poll', 'orphan_polls', 'cancels', 'relays', 'watches', 'callbacks', 'inbox', 'inbox:leases',
  'run_details', 'schedules', 'reconcile', 'due', 'deadlines', 'expiring', 'canceling', 'dropping', 'ends_after_recovery' }

local function active_consumers(q, stage)
  local consumers = q.prefix .. 'active_consumers:' .. stage
  redis.call('ZREMRANGEBYSCORE', consumers, '-inf', int(q.now))
  return redis.call('ZCARD', consumers)
end

-- How many members of an index are due.
local function due_in(q, index) return redis.call('ZCOUNT', q.prefix .. index, '-inf', int(q.now)) end

local function are_any(q, names)
  local keys = {}
  for i, name in ipairs(names) do keys[i] = q.prefix .. name end
  return redis.call('EXISTS', unpack(keys)) > 0
end

local function ready_jobs(q)
  local ready = 0
  for _, n in ipairs(redis.call('HMGET', q.prefix .. 'counters', 'ready:0', 'ready:1', 'ready:2', 'ready:3')) do
    ready = ready + tonumber(n or 0)
  end
  return ready
end

-- Ready jobs that a claim could take, counted no further than `enough`: lanes of the ring, none held. If the first
-- lanes do not decide it, any ready job may be one: a claim checks, and takes out lanes that it cannot take from.
local function claimable(q, enough)
  local found, visited = due_in(q, 'held_keys') + due_in(q, 'held_budgets') + due_in(q, 'deferred_for'), 0
  for priority = 0, 3 do
    for _, group in ipairs(redis.call('ZRANGE', q.prefix .. 'ring:' .. priority, 0, MAX_LANES - 1)) do
      local names = redis.call('LRANGE', lanes.list_key(q, priority, group), 0, MAX_LANES - 1)
      for _, lane in ipairs(names) do
        if lanes.runs(q, lane) then
          found = found + redis.call('LLEN', lanes.key(q, priority, group, lane))
          if found >= enough then return found end
        end
      end
      visited = visited + math.max(1, #names)
      if visited >= MAX_LANES then return math.max(found, math.min(enough, ready_jobs(q))) end
    end
  end
  if redis.call('EXISTS', q.prefix .. 'listing') == 1 then return math.max(found, math.min(enough, ready_jobs(q))) end
  return found
end

-- The second value: whether runs of others take slots of the account's.
local function may_submit(q, paused, hold_until)
  if paused or tonumber(hold_until or 0) > q.now then return false end
  local f = redis.call('HMGET', q.prefix .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs',
    'env:share_capacity')
  local limit = tonumber(f[1] or f[2] or 0)
  if limit == 0 then return true end
  local is_shared = f[3] == '1'
  if is_shared then limit = limits.slots_beside_others(q, limit) end
  return orphans.slots_taken(q) < limit, is_shared
end

local function send(q, reply, stage, n)
  if n < 1 then return end
  reply[#reply + 1] = stage
  reply[#reply + 1] = n
  redis.call('HSET', q.meta, 'sent:' .. stage, int(q.now))
end

-- Sends so many messages of a stage as its work needs, and its active consumers do not do.
local function send_for(q, reply, stage, work, alive)
  if work == 0 then return end
  send(q, reply, stage, math.min(alive, math.ceil(work / JOBS_A_CONSUMER)) - active_consumers(q, stage))
end

-- Acts on a wake-up. The clock is left to the ticks.
local function wake(q, process)
  local owner = redis.call('ZREVRANGE', q.prefix .. 'active_consumers:submit', 0, 0, 'WITHSCORES')
  if owner[1] and tonumber(owner[2]) > q.now then
    if owner[1] == process then return { 'wake', int(q.now) } end
    local own = q.prefix .. 'wake:' .. owner[1]
    if redis.call('EXISTS', own) == 0 then
      redis.call('LPUSH', own, '1')
      redis.call('EXPIRE', own, 60)
    end
    return { 'passed', int(q.now) }
  end
  local reply, f = { 'send', int(q.now) }, redis.call('HMGET', q.meta, 'sent:submit', 'paused', 'hold_until')
  -- A message is on its way already; the consumer that it starts clears the mark in its first script.
  local sent = tonumber(f[1] or 0)
  if (sent > q.now or q.now - sent > SEND_AGAIN) and may_submit(q, f[2], f[3]) then
    send(q, reply, 'submit', math.min(1, claimable(q, 1)))
  end
  return reply
end

local function send_stages(q, reply, meta)
  local alive = redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.now), '+inf')
  if are_any(q, RINGS) then
    local may, is_shared = may_submit(q, meta[4], meta[2])
    if may then send_for(q, reply, 'submit', claimable(q, alive * JOBS_A_CONSUMER), alive) end
    if is_shared and tonumber(redis.call('HGET', q.meta, 'others_at') or 0) <= q.now then
      send(q, reply, 'others', 1 - active_consumers(q, 'others'))
    end
  end
  send_for(q, reply, 'poll', due_in(q, 'poll') + due_in(q, 'orphan_polls'), alive)
  if meta[5] == '1' and math.max(tonumber(meta[6] or 0), tonumber(meta[7] or 0)) <= q.now then
    send(q, reply, 'list', 1 - active_consumers(q, 'list'))
  end
  send_for(q, reply, 'cancel', due_in(q, 'cancels'), alive)
  send_for(q, reply, 'webhooks', due_in(q, 'relays') + due_in(q, 'watches'), alive)
  send_for(q, reply, 'callbacks', due_in(q, 'callbacks'), alive)
  send_for(q, reply, 'details', math.min(1, due_in(q, 'run_details')), alive)
  send_for(q, reply, 'schedules', due_in(q, 'schedules') * JOBS_A_CONSUMER, alive)
  -- Anyone may write to the inbox: a wrong type there must not keep the other consumers from their messages.
  local lines = redis.pcall('LLEN', q.prefix .. 'inbox')
  lines = type(lines) == 'number' and lines or 0
  send_for(q, reply, 'inbox', lines / LINES_A_JOB + due_in(q, 'inbox:leases'), alive)
end

local function needs_sweep(q, meta, is_idle)
  local since = q.now - tonumber(meta[3] or 0)
  if since < 0 or since > TIDY_EVERY then return true end
  if since <= SWEEP_EVERY then return false end
  return due_in(q, 'processes') > 0 or (not is_idle and (meta[8] or meta[9]
    or due_in(q, 'due') > 0 or due_in(q, 'deadlines') > 0 or due_in(q, 'expiring') > 0
    or are_any(q, { 'canceling', 'listing', 'dropping', 'ends_after_recovery' })))
end

local function body(q)
  local process, interval = q.args[2], tonumber(q.args[4])
  if q.args[3] == '1' then return wake(q, process) end
  if q.may_be_set then clock.set_clock(q, process, tonumber(q.args[5])) end
  local reply = { 'send', int(q.now) }
  local meta = redis.call('HMGET', q.meta, 'tick_at', 'hold_until', 'sweep_at', 'paused', 'lists_on', 'list_at',
    'list_until', 'pack_more', 'retire_left', 'set_back')
  -- Checks for another server before the tick is written: its knowledge ends with the last tick that it has stored.
  -- Also if there is nothing to claim: the sooner it is noticed, the sooner submissions continue.
  local is_recovering = not server.is_trusted(q)
  if meta[10] then clock.set_back(q, meta[10]) end
  local tick_at = tonumber(meta[1] or 0)
  if tick_at > q.now and tick_at <= q.now + interval then return { 'wait', int(q.now) } end
  redis.call('HSET', q.meta, 'tick_at', int(q.now + interval))
  local is_idle = not (meta[5] == '1' or meta[8] or meta[9] or are_any(q, INDEXES) or are_any(q, RINGS))
  if not is_idle then send_stages(q, reply, meta) end
  -- One at a time: another search need not look for what one finds.
  if is_recovering or (not is_idle and due_in(q, 'reconcile') > 0) then
    send(q, reply, 'reconcile', 1 - active_consumers(q, 'reconcile'))
  end
  if needs_sweep(q, meta, is_idle) then
    redis.call('HSET', q.meta, 'sweep_at', int(q.now))
    send(q, reply, 'sweep', 1)
  end
  if is_idle and not reply[3] then reply[1] = 'idle' end
  return reply
end
