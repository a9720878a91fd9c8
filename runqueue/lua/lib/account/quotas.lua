-- How much may wait: jobs that are ready or scheduled, and bytes of their requests. A job is charged to its owner
-- (`quota_owner` in its record, counters.lua) until it is submitted for the first time, ends or is removed.
local quotas = {}
local WAITING = { 'ready:0', 'ready:1', 'ready:2', 'ready:3',
  'scheduled:0', 'scheduled:1', 'scheduled:2', 'scheduled:3' }

-- The account's quotas: jobs, bytes; 0 = none.
function quotas.read(q)
  local f = redis.call('HMGET', q.prefix .. 'limits', 'live:waiting_jobs', 'env:waiting_jobs', 'live:waiting_bytes',
    'env:waiting_bytes')
  return tonumber(f[1] or f[2] or 0), tonumber(f[3] or f[4] or 0)
end

function quotas.jobs_waiting(q)
  local n = 0
  for _, count in ipairs(redis.call('HMGET', q.prefix .. 'counters', unpack(WAITING))) do
    n = n + tonumber(count or 0)
  end
  return n
end

return quotas
