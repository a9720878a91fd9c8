-- use: lanes
-- The effect of jobs' ends on their batch: its rules may hold or release it, it may be over, and its callbacks become
-- due.
-- Fields of a batch beside its counts: sealed, held (and why), the rules, finished_at; rate_* (how fast its jobs end);
-- callback_url, callback_at (shares still to be reported), callbacks:*, callback:<event> (still to be sent) and
-- abandoned:<event> (which an operator may send again).
local batches = {}
function batches.key(q, batch) return q.prefix .. 'batch:' .. batch end

-- How many jobs a batch has, without those that another upload took over (`moved`).
function batches.size(q, batch)
  local moved = tonumber(redis.call('HGET', batches.key(q, batch), 'moved') or 0)
  return redis.call('LLEN', q.prefix .. 'batch_jobs:' .. batch) - moved
end

-- Removes a batch without jobs; if callbacks are still to be sent, it goes with the last of them.
function batches.drop(q, batch)
  if tonumber(redis.call('HGET', batches.key(q, batch), 'callbacks:pending') or 0) > 0 then return false end
  lanes.drop(q, batch)
  redis.call('UNLINK', batches.key(q, batch), q.prefix .. 'batch_jobs:' .. batch, q.prefix .. 'batch_left:' .. batch)
  redis.call('ZREM', q.prefix .. 'batches', batch)
  redis.call('ZREM', q.prefix .. 'expiring', batch)
  redis.call('HDEL', q.prefix .. 'canceling', batch) -- another of this id, as of a schedule's firing, is not canceled
  local scope = 'batch:' .. batch
  if redis.call('HDEL', q.prefix .. 'budgets', scope) == 1 then
    redis.call('HDEL', q.prefix .. 'budget_runs', scope)
    redis.call('UNLINK', q.prefix .. 'spent:' .. scope .. ':0', q.prefix .. 'spent:' .. scope .. ':0:credits',
      q.prefix .. 'max_steps:' .. scope)
    redis.call('SREM', q.prefix .. 'commits', scope)
  end
  return true
end

-- Holds that only an operator ends, and the final status of a batch under each.
batches.FINAL = { canceled = 'canceled', aborted = 'failed', expired = 'expired' }

local STATES = { 'scheduled', 'ready', 'submitting', 'unconfirmed', 'running',
  'completed', 'failed', 'canceled', 'dead' }
local RULES = { 'sealed', 'held', 'finished_at', 'abort', 'abort_after', 'canary', 'canary_ratio', 'canary_jobs',
  'canary_ended', 'canary_completed', 'callback_at', 'rate_at', 'rate_ended', 'rate_n', 'rate_us' }
-- The names are put together when first needed: most scripts read no batch.
local function fields_read(q)
  if not q.batch_fields then
    q.batch_fields = { unpack(RULES) }
    for _, state in ipairs(STATES) do q.batch_fields[#q.batch_fields + 1] = 'count:' .. state end
  end
  return q.batch_fields
end

function batches.read(q, batch)
  local f = redis.call('HMGET', batches.key(q, batch), unpack(fields_read(q)))
  local read = { live = 0, open = 0, ended = 0 }
  for i, name in ipairs(RULES) do read[name] = f[i] end
  for i, state in ipairs(STATES) do
    local n = tonumber(f[#RULES + i] or 0)
    read['count:' .. state] = n
    if LIVE[state] then read.live = read.live + n end
    if ENDED[state] then read.ended = read.ended + n else read.open = read.open + n end
  end
  read.bad = read['count:failed'] + read['count:dead']
  return read
end

-- Keeps what happened for notifications (notices.lua), where these are on: '<event>:<batch, or what is said>'.
function batches.keep_event(q, event)
  if redis.call('EXISTS', q.prefix .. 'notices') == 0 then return end
  redis.call('ZADD', q.prefix .. 'batch_ends', int(q.now), event)
  redis.call('ZREMRANGEBYRANK', q.prefix .. 'batch_ends', 0, -1001)
  redis.call('PEXPIRE', q.prefix .. 'batch_ends', int(DAY / 1000))
end

local function abort_batch(q, batch, read, why)
  redis.call('HSET', batches.key(q, batch), 'held', 'aborted', 'why', why)
  redis.call('HINCRBY', q.prefix .. 'counters', 'batches:aborted', 1)
  batches.keep_event(q, 'batch_aborted:' .. batch)
  read.held = 'aborted'
end

-- A share that is reached exactly counts as reached: 0.1 * 30 is a little more than 3.
local function is_share(n, ratio, of) return n >= tonumber(ratio) * of * (1 - 1e-9) end

-- The time of a hold does not count for the batch's rate, which is measured from its next claim on (changes.lua).
function batches.measure_anew(q, batch)
  redis.call('HDEL', batches.key(q, batch), 'rate_at', 'rate_n', 'rate_us')
end

-- The rate at which jobs end, without canceled ones: a count and its time, in which older ends weigh less. The last
-- fifty ends, or the last five minutes, weigh most, whichever is more.
local MEMORY, MEMORY_US = 50, 300000000
local function measure(q, batch, read)
  local ended = read['count:completed'] + read.bad
  local n = ended - tonumber(read.rate_ended or 0)
  if n == 0 then return end
  redis.call('HSET', batches.key(q, batch), 'rate_ended', int(ended))
  if n < 0 or not read.rate_at then return end
  local passed = math.max(0, q.now - tonumber(read.rate_at))
  local kept = math.exp(-math.min(n / MEMORY, passed / MEMORY_US))
  redis.call('HSET', batches.key(q, batch), 'rate_at', int(q.now),
    'rate_n', string.format('%.3f', tonumber(read.rate_n or 0) * kept + n),
    'rate_us', int(tonumber(read.rate_us or 0) * kept + passed))
end

local function apply_rules(q, batch, read)
  if read.sealed ~= '1' or batches.FINAL[read.held] then return end
  local canary = tonumber(read.canary_jobs or 0)
  if read.abort and read.ended >= tonumber(read.abort_after) and read.bad > 0
    and is_share(read.bad, read.abort, read.ended) then
    abort_batch(q, batch, read, int(read.bad) .. ' of ' .. int(read.ended) .. ' jobs that ended failed or are dead')
  elseif read.canary and tonumber(read.canary_ended or 0) >= canary then
    local completed = tonumber(read.canary_completed or 0)
    if is_share(completed, read.canary_ratio, canary) then
      redis.call('HDEL', batches.key(q, batch), 'canary')
      if read.held ~= 'canary' then return end -- paused: all of it continues once the pause ends
      redis.call('HDEL', batches.key(q, batch), 'held')
      read.held = false
      batches.measure_anew(q, batch)
      lanes.list_lanes(q, batch)
      if lanes.anything_ready(q) then lanes.wake(q) end
    else
      abort_batch(q, batch, read, int(completed) .. ' of the first ' .. int(canary) .. ' jobs completed')
    end
  end
end

-- Queues an event for the batch's callback_url: '<n>:<what>:<share>', the n-th of the batch. The field holds the
-- number of its tries and when it happened.
local function add_callback(q, batch, what, share)
  local key = batches.key(q, batch)
  local event = int(redis.call('HINCRBY', key, 'callbacks:made', 1)) .. ':' .. what .. ':' .. share
  redis.call('HINCRBY', key, 'callbacks:pending', 1)
  redis.call('HSET', key, 'callback:' .. event, '0 ' .. int(q.now))
  redis.call('ZADD', q.prefix .. 'callbacks', int(q.now), batch .. ' ' .. event)
end

-- Reports the shares of ended jobs that are reached, each once: `callback_at` holds those that are left.
local function add_share_callbacks(q, batch, read)
  local left, total = read.callback_at, read.open + read.ended
  if not left or read.sealed ~= '1' or total == 0 then return end
  local share, others = string.match(left, '^(%S+) ?(.*)$')
  while share and is_share(read.ended, share, total) do
    add_callback(q, batch, 'progress', share)
    left = others
    share, others = string.match(left, '^(%S+) ?(.*)$')
  end
  if left ~= read.callback_at then redis.call('HSET', batches.key(q, batch), 'callback_at', left) end
end

-- A batch is over with its last job; an aborted or expired one, with its last run.
function batches.judge(q, batch)
  local read = batches.read(q, batch)
  measure(q, batch, read)
  apply_rules(q, batch, read)
  add_share_callbacks(q, batch, read)
  local is_whole = read.sealed == '1' or (read.sealed and (read.held == 'canceled' or read.held == 'expired'))
  local is_over = is_whole
    and (read.open == 0 or ((read.held == 'aborted' or read.held == 'expired') and read.live == 0))
  if is_over and not read.finished_at then
    redis.call('HSET', batches.key(q, batch), 'finished_at', int(q.now))
    redis.call('HINCRBY', q.prefix .. 'counters', 'batches:finished', 1)
    batches.keep_event(q, 'batch_over:' .. batch)
    if read.callback_at then add_callback(q, batch, batches.FINAL[read.held] or 'completed', '') end
  elseif read.finished_at and not is_over then
    redis.call('HDEL', batches.key(q, batch), 'finished_at')
    batches.measure_anew(q, batch)
  end
end

-- A job that ended, was replayed or moved to another batch may decide on its batch; so may an ended run.
function batches.decides(field, n)
  local state = string.sub(field, 7)
  return n ~= 0 and (field == 'moved' or ENDED[state] or (LIVE[state] and n < 0))
end

return batches
