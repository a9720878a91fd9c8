-- How much may wait: jobs that are ready or scheduled, and bytes of their requests. Who stored a job is charged with it
-- (`charged` in its record, core.lua) until it is submitted for the first time, ends or goes.
local WAITING = { 'ready:0', 'ready:1', 'ready:2', 'ready:3', 'scheduled:0', 'scheduled:1', 'scheduled:2', 'scheduled:3' }

-- The account's quotas: jobs, bytes; 0 = none.
local function read_quotas()
  local f = redis.call('HMGET', PREFIX .. 'limits', 'live:waiting_jobs', 'env:waiting_jobs', 'live:waiting_bytes',
    'env:waiting_bytes')
  return tonumber(f[1] or f[2] or 0), tonumber(f[3] or f[4] or 0)
end

local function jobs_waiting()
  local n = 0
  for _, count in ipairs(redis.call('HMGET', COUNTERS, unpack(WAITING))) do n = n + tonumber(count or 0) end
  return n
end
