-- The circuit breaker of each receiver that webhooks are relayed to: one that does not answer costs about one try a
-- minute, however many webhooks wait. `endpoint` is scheme, host and port.
-- Fields of endpoint:<hash>: fails (in a row), open_until, step (microseconds), probe; gone with the first answer.
local endpoints = {}
local FAILS, FIRST_STEP, LONGEST_STEP = 5, 10000000, 120000000
local PROBE = 20000000 -- one delivery takes less, see worker/delivery/relay.py

function endpoints.of(url)
  local scheme, authority = string.match(url, '^(%a+)://([^/?#]+)')
  if not scheme then return '' end
  local endpoint = string.lower(scheme .. '://' .. (string.match(authority, '@([^@]*)$') or authority))
  return string.match(endpoint, '^(http://.*):80$') or string.match(endpoint, '^(https://.*):443$') or endpoint
end
local function endpoint_key(q, endpoint)
  return q.prefix .. 'endpoint:' .. string.sub(redis.sha1hex(endpoint), 1, 16)
end

-- When a webhook may go to this receiver; now or before = at once. When the breaker's time is over, one is sent
-- (`probe`), and the others wait for its outcome.
function endpoints.open_until(q, endpoint)
  local key = endpoint_key(q, endpoint)
  local open = redis.call('HGET', key, 'open_until')
  if not open then return 0 end
  -- After a step back of the clock it must not stay open for longer than its longest step.
  if tonumber(open) > q.now and tonumber(open) <= q.now + LONGEST_STEP then return tonumber(open) end
  redis.call('HSET', key, 'open_until', int(q.now + PROBE), 'probe', '1')
  return 0
end

function endpoints.answered(q, endpoint) redis.call('DEL', endpoint_key(q, endpoint)) end

-- Failures of webhooks that were under way when the breaker opened do not count again.
function endpoints.failed(q, endpoint)
  local key = endpoint_key(q, endpoint)
  local f = redis.call('HMGET', key, 'step', 'open_until', 'probe')
  local fails = redis.call('HINCRBY', key, 'fails', 1)
  if fails >= FAILS and (tonumber(f[2] or 0) <= q.now or f[3]) then
    local step = math.min(math.max(tonumber(f[1] or 0) * 2, FIRST_STEP), LONGEST_STEP)
    redis.call('HSET', key, 'step', int(step), 'open_until', int(q.now + step))
    redis.call('HDEL', key, 'probe')
  end
  redis.call('PEXPIRE', key, 86400000)
end

return endpoints
