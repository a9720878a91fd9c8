-- For how long an account retains its ended jobs: the days of its setting KEEP, which workers write as
-- `env:keep_<state>` of `limits` (seed_limits.lua); RETENTION where there are none.
local retention = {}
local STATES = { 'completed', 'failed', 'canceled', 'dead' }

-- Reads it in microseconds, by state; `longest` is RETENTION at least, and `text` has all four.
function retention.read(q)
  local days = redis.call('HMGET', q.prefix .. 'limits', 'env:keep_completed', 'env:keep_failed', 'env:keep_canceled',
    'env:keep_dead')
  local retained, texts = { longest = RETENTION }, {}
  for i, state in ipairs(STATES) do
    retained[state] = days[i] and tonumber(days[i]) * DAY or RETENTION
    retained.longest = math.max(retained.longest, retained[state])
    texts[i] = int(retained[state])
  end
  retained.text = table.concat(texts, ' ')
  return retained
end

-- The durations shorter than the longest, each once, the longer first. Orphan runs are retained for RETENTION.
function retention.shorter(retained)
  local found, is_known = {}, { [retained.longest] = true }
  for _, name in ipairs({ 'orphans', unpack(STATES) }) do
    local duration = retained[name] or RETENTION
    if not is_known[duration] then found[#found + 1] = duration end
    is_known[duration] = true
  end
  table.sort(found, function(one, other) return one > other end)
  return found
end

return retention
