-- use: counters batches active_consumers waits
-- Takes callbacks that are due, each with the present state of its batch. Each is due again after `lease_us`
-- unless it is recorded.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), stay_idle (0 | 1), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), per callback: batch, event ('<n>:<what>:<share>'), tries
--         (made), at_us (when it happened), url, the batch as HGETALL, its jobs, what its jobs wait for (waits.lua) }
--       next_us = when the next is due; consumer_left = 1: the consumer is not active any more.
local process, want, tick_us = q.args[2], tonumber(q.args[3]), tonumber(q.args[4])
local stay_idle, lease = q.args[5] == '1', q.args[6]
local CALLBACKS, DUE_SOON = q.prefix .. 'callbacks', 1000000
local refused = active_consumers.enter(q, 'callbacks', process, tick_us)
if refused then return refused end

local reply, taken = { 'ok', int(q.now), '0', 0 }, 0
local due = want > 0 and redis.call('ZRANGEBYSCORE', CALLBACKS, '-inf', int(q.now), 'LIMIT', 0, want) or {}
local function add(member)
  local batch, event = string.match(member, '^(%S+) (%S+)$')
  redis.call('ZADD', CALLBACKS, int(q.now + tonumber(lease)), member)
  local f = redis.call('HMGET', batches.key(q, batch), 'sealed', 'callback_url', 'callback:' .. event)
  if f[1] and f[2] and f[3] then
    local tries, at = string.match(f[3], '^(%d+) (%d+)$')
    local callback = { batch, event, tries, at, f[2], redis.call('HGETALL', batches.key(q, batch)),
      batches.size(q, batch), waits.of_batch(q, batch) }
    for _, value in ipairs(callback) do reply[#reply + 1] = value end
    taken = taken + 1
  else -- its upload was discarded
    redis.call('ZREM', CALLBACKS, member)
    counters.bump(q.totals, 'callbacks:dropped', 1)
  end
end
for _, member in ipairs(due) do add(member) end

local next_us, consumer_left = 0, 0
if want > 0 and #due < want then
  next_us = tonumber(redis.call('ZRANGE', CALLBACKS, 0, 0, 'WITHSCORES')[2] or 0)
  local is_far = next_us == 0 or next_us > q.now + DUE_SOON
  if is_far and taken == 0 and not stay_idle then
    active_consumers.leave(q, 'callbacks', process)
    consumer_left = 1
  elseif is_far then
    next_us = 0 -- it stays active for new callbacks
  end
end
reply[3], reply[4] = int(next_us), consumer_left
return reply
