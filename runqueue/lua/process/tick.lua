-- use: lanes server clock strays
-- The leaderless ticker: the process that takes the slot sends the due messages.
-- ARGV  now_us, process, woken (1 = a wake-up was taken: bypasses the slot, submit only), interval_us,
--       passed_us (the process's monotonic clock: only differences count)
-- Reply { 'wait', now_us }: another process has this slot
--       { 'wake', now_us }: the woken process has the active consumer itself
--       { 'passed', now_us }: the wake-up was handed to a process that has an active consumer
--       { 'send', now_us, per kind that is due: kind, messages }
local process, woken, interval = q.args[2], q.args[3] == '1', tonumber(q.args[4])
local JOBS_A_CONSUMER, MAX_LANES = 100, 64
local LINES_A_JOB = 100 -- lines of the inbox cost no call to Skyvern: so many go for one job
local SEND_AGAIN = 50000
local SWEEP_EVERY, TIDY_EVERY = 1000000, 30000000
if q.may_be_set then clock.set_clock(q, process, tonumber(q.args[5])) end

local function active_consumers(kind)
  local board = q.prefix .. 'board:' .. kind
  redis.call('ZREMRANGEBYSCORE', board, '-inf', int(q.now))
  return redis.call('ZCARD', board)
end

-- How many members of an index are due.
local function due_in(index) return redis.call('ZCOUNT', q.prefix .. index, '-inf', int(q.now)) end

local function ready_jobs()
  local ready = 0
  for _, n in ipairs(redis.call('HMGET', q.prefix .. 'counters', 'ready:0', 'ready:1', 'ready:2', 'ready:3')) do
    ready = ready + tonumber(n or 0)
  end
  return ready
end

-- Ready jobs that a claim could take, counted no further than `enough`: lanes of the ring, none held. If the first
-- lanes do not decide it, any ready job may be one: a claim checks, and takes out lanes that it cannot take from.
local function claimable(enough)
  local found, visited = due_in('held_keys') + due_in('held_budgets') + due_in('asides'), 0
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
      if visited >= MAX_LANES then return math.max(found, math.min(enough, ready_jobs())) end
    end
  end
  if redis.call('EXISTS', q.prefix .. 'listing') == 1 then return math.max(found, math.min(enough, ready_jobs())) end
  return found
end
local alive = redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.now), '+inf')
local meta = redis.call('HMGET', q.meta, 'tick_at', 'hold_until', 'sweep_at', 'sent:submit', 'paused', 'lists_on',
  'list_at', 'list_until', 'pack_more', 'retire_left', 'set_back')

local function may_submit()
  if meta[5] or tonumber(meta[2] or 0) > q.now then return false end
  local cap = redis.call('HMGET', q.prefix .. 'limits', 'live:concurrent_runs', 'env:concurrent_runs')
  cap = tonumber(cap[1] or cap[2] or 0)
  return cap == 0 or strays.slots_taken(q) < cap
end

local function wanted(work, kind)
  return math.max(0, math.min(alive, math.ceil(work / JOBS_A_CONSUMER)) - active_consumers(kind))
end

local reply = { 'send', int(q.now) }
local function send(kind, n)
  if n < 1 then return end
  reply[#reply + 1] = kind
  reply[#reply + 1] = n
  redis.call('HSET', q.meta, 'sent:' .. kind, int(q.now))
end

if woken then
  if active_consumers('submit') > 0 then
    local owner = redis.call('ZREVRANGE', q.prefix .. 'board:submit', 0, 0)[1]
    if owner == process then return { 'wake', int(q.now) } end
    local own = q.prefix .. 'wake:' .. owner
    if redis.call('EXISTS', own) == 0 then
      redis.call('LPUSH', own, '1')
      redis.call('EXPIRE', own, 60)
    end
    return { 'passed', int(q.now) }
  end
  -- A message is on its way already; the consumer that it starts clears the mark in its first script.
  local sent = tonumber(meta[4] or 0)
  if (sent > q.now or q.now - sent > SEND_AGAIN) and may_submit() then
    send('submit', math.min(1, claimable(1)))
  end
  return reply
end

-- Checks for another server before the tick is written: its knowledge ends with the last tick that it has stored. Also
-- if there is nothing to claim: the sooner it is noticed, the sooner submissions continue.
server.is_trusted(q)

if meta[11] then clock.set_back(q, meta[11]) end

if tonumber(meta[1] or 0) > q.now and tonumber(meta[1]) <= q.now + interval then return { 'wait', int(q.now) } end
redis.call('HSET', q.meta, 'tick_at', int(q.now + interval))
if may_submit() then send('submit', wanted(claimable(alive * JOBS_A_CONSUMER), 'submit')) end
send('poll', wanted(due_in('poll') + due_in('stray_looks'), 'poll'))
if meta[6] == '1' and math.max(tonumber(meta[7] or 0), tonumber(meta[8] or 0)) <= q.now then
  send('list', 1 - active_consumers('list'))
end
send('cancel', wanted(due_in('cancels'), 'cancel'))
send('webhooks', wanted(due_in('relays') + due_in('watches'), 'webhooks'))
-- Batches with callbacks are few: the active consumers are checked when one is due.
local callbacks = due_in('callbacks')
if callbacks > 0 then send('callbacks', wanted(callbacks, 'callbacks')) end
-- Anyone may write to the inbox: a wrong type there must not keep the other consumers from their messages.
local lines = redis.pcall('LLEN', q.prefix .. 'inbox')
send('inbox', wanted((type(lines) == 'number' and lines or 0) / LINES_A_JOB + due_in('inbox:leases'), 'inbox'))
-- One at a time: another search need not look for what one finds.
if due_in('reconcile') > 0
  or redis.call('HEXISTS', q.meta, 'recover_from') == 1 then
  send('reconcile', 1 - active_consumers('reconcile'))
end

local since = q.now - tonumber(meta[3] or 0)
if (since < 0 or since > TIDY_EVERY or (since > SWEEP_EVERY and (due_in('due') > 0
    or due_in('deadlines') > 0 or due_in('expiring') > 0 or due_in('processes') > 0
    or redis.call('EXISTS', q.prefix .. 'canceling', q.prefix .. 'listing', q.prefix .. 'dropping',
      q.prefix .. 'unwanted') > 0 or meta[9]
    or meta[10]))) then
  redis.call('HSET', q.meta, 'sweep_at', int(q.now))
  send('sweep', 1)
end
return reply
