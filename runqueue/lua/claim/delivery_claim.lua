-- use: active_consumers limits job_record deliveries endpoints packed
-- Takes webhooks whose delivery is due: relays, which we send, and watches, whose delivery by Skyvern we check.
-- Each is due again after `lease_us` unless it is recorded.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), stay_idle (0 | 1), lease_us,
--       span_us (how long after its end, or after an operator's request, a webhook is tried), allowed_bytes (of
--       bodies and envelopes in one reply; the last may go beyond), then 2 a receiver that the process is busy
--       with: endpoint, webhooks being sent
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), per webhook: id, attempt, run_id, run_status, webhook_route,
--         tries (made), looks (made), forced (0 | 1: requested by an operator), ended_us, signed ('' = not by Skyvern),
--         url ('' = the request's own), state (the job's), envelope, body ('' for a watch; it may be packed, see
--         compression.py) }
--       next_us = when a permit or the next delivery is due; consumer_left = 1: the consumer is not active any more.
-- A receiver that does not answer has its circuit breaker open (endpoints.lua): its webhooks wait untried, and are
-- given up when their time is over. A slow receiver gets a quarter of the free capacity: its other webhooks wait for
-- a second, without a permit, so that it exhausts neither capacity nor rate.
local process, want, tick_us, stay_idle = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), q.args[5] == '1'
local lease, span, bytes_left = tonumber(q.args[6]), tonumber(q.args[7]), tonumber(q.args[8])
local RELAYS, WATCHES = q.prefix .. 'relays', q.prefix .. 'watches'
local DUE_SOON, RELAY_BURST, MAX_BLOCKED = 1000000, 10, 500
local SHARE, FULL_WAITS = 4, 1000000
local ATTEMPT, TRIES, LOOKS, FORCED, ENDED_AT, URL, DELIVERY = 2, 6, 7, 8, 9, 11, 12 -- places in job_record.DELIVERED
local refused = active_consumers.enter(q, 'webhooks', process, tick_us)
if refused then return refused end

local limit = limits.read(q)
local reply, taken = { 'ok', int(q.now), '0', 0 }, 0

local busy = {}
for i = 9, #q.args, 2 do busy[q.args[i]] = tonumber(q.args[i + 1]) end

local function is_full(endpoint)
  local open = busy[endpoint] or 0
  return open >= math.max(1, math.floor((want + open) / SHARE))
end
local function count_busy(endpoint)
  busy[endpoint] = (busy[endpoint] or 0) + 1
  want = want - 1
end

-- The first line of the stored body, and the URL in it; '' where there is none, or the body is gone.
local function read_envelope(id)
  local line = job_record.envelope_of(q, id)
  local is_whole, envelope = pcall(cjson.decode, line)
  local url = is_whole and type(envelope) == 'table' and envelope.webhook_url
  return line, type(url) == 'string' and url or ''
end

local function add(id, f, line, body)
  reply[#reply + 1] = id
  for _, at in ipairs({ ATTEMPT, TRIES, LOOKS, ENDED_AT }) do f[at] = f[at] or '0' end
  f[FORCED] = f[FORCED] and '1' or '0'
  for at = ATTEMPT, URL do reply[#reply + 1] = f[at] or '' end
  reply[#reply + 1] = f[1]
  reply[#reply + 1] = line
  reply[#reply + 1] = body
  bytes_left = bytes_left - #line - #body
  taken = taken + 1
end

-- The record of a waiting webhook; one that does not wait is removed from the index.
local function waiting(index, id)
  local f = job_record.read_fields(q, id, job_record.DELIVERED)
  if f and f[DELIVERY] == 'pending' then return f end
  redis.call('ZREM', index, id)
  return nil
end

-- Takes due webhooks.
local function take_each(index, room, done, take_one)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', index, '-inf', int(q.now), 'LIMIT', 0, room + MAX_BLOCKED)) do
    if done() >= room or bytes_left <= 0 then break end
    take_one(id)
  end
end

local function take_relays(room)
  local n, blocked, known = 0, 0, {}
  take_each(RELAYS, room, function() return n end, function(id)
    local f = waiting(RELAYS, id)
    if not f then return end
    local line, url = read_envelope(id)
    local endpoint = endpoints.of(f[URL] or url)
    if is_full(endpoint) then
      known[endpoint] = q.now + FULL_WAITS
    elseif not known[endpoint] then
      known[endpoint] = endpoints.open_until(q, endpoint)
    end
    if known[endpoint] > q.now then
      blocked = blocked + 1
      if q.now > math.max(tonumber(f[FORCED] or 0), tonumber(f[ENDED_AT] or 0)) + span then
        deliveries.end_delivery(q, id, 'abandoned', nil, 'the receiver did not answer for too long')
      else
        redis.call('ZADD', RELAYS, int(known[endpoint]), id)
      end
    else
      -- The others wait for the probe.
      known[endpoint] = nil
      local body = redis.call('GET', q.prefix .. 'webhook:' .. id) or packed.stored_result(q, id)
      redis.call('HSET', job_key(q, id), 'sending', int(q.now + lease))
      redis.call('ZADD', RELAYS, int(q.now + lease), id)
      add(id, f, line, body)
      count_busy(endpoint)
      n = n + 1
    end
  end)
  return n, blocked
end

local function take_watches(room)
  local n, full = 0, 0
  take_each(WATCHES, room, function() return n end, function(id)
    local f = waiting(WATCHES, id)
    if not f then return end
    local line, url = read_envelope(id)
    local endpoint = endpoints.of(f[URL] or url)
    if is_full(endpoint) then
      full = full + 1
      redis.call('ZADD', WATCHES, int(q.now + FULL_WAITS), id)
    else
      redis.call('ZADD', WATCHES, int(q.now + lease), id)
      add(id, f, line, '')
      count_busy(endpoint)
      n = n + 1
    end
  end)
  return n, full
end

local asked = want
local room, next_us = limits.allowed(q, 'relay', limit.webhooks_per_second, RELAY_BURST, want)
local sent, blocked = 0, 0
if room > 0 then sent, blocked = take_relays(room) end
limits.take(q, 'relay', limit.webhooks_per_second, sent)
if blocked > 0 and sent < room then next_us = q.now end
if sent < room and blocked == 0 then next_us = 0 end

local looks_room, looks_next = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, want)
local looked, full = 0, 0
if looks_room > 0 and bytes_left > 0 then looked, full = take_watches(looks_room) end
limits.take(q, 'request', limit.requests_per_second, looked)
if full > 0 and looked < looks_room then next_us = q.now end
if looks_next > 0 and (next_us == 0 or looks_next < next_us) then
  if redis.call('ZCOUNT', WATCHES, '-inf', int(q.now)) > 0 then next_us = looks_next end
end

local consumer_left = 0
if next_us == 0 and asked > 0 then
  for _, index in ipairs({ RELAYS, WATCHES }) do
    local first = tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or 0)
    if first > 0 and (next_us == 0 or first < next_us) then next_us = first end
  end
  if taken == 0 and not stay_idle and (next_us == 0 or next_us > q.now + DUE_SOON) then
    active_consumers.leave(q, 'webhooks', process)
    consumer_left = 1
  elseif next_us > q.now + DUE_SOON then
    next_us = 0 -- it stays active for wake-ups
  end
end
reply[3], reply[4] = int(next_us), consumer_left
return reply
