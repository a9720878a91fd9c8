-- use: counters job_record
-- How much may wait: jobs that are ready or scheduled, and bytes of their requests. A job is charged to its owner
-- (`charged` in its record, counters.lua) until it is submitted for the first time, ends or is removed. A job that ends
-- without having been submitted stays charged, so that canceled jobs cannot fill Redis: of such jobs only the newest
-- requests are kept, as many as may wait.
local quotas = {}
local FIELDS = job_record.fields('state', 'attempt', 'charged')
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

-- The part of a request that stays: its kind and its name; '' if it cannot be read.
local function name_of(q, id)
  local is_sound, envelope = pcall(cjson.decode, job_record.envelope_of(q, id))
  if not is_sound or type(envelope) ~= 'table' then return '' end
  return cjson.encode({ k = envelope.k, c = envelope.c, n = envelope.n }) .. '\n{}'
end

-- Drops the oldest requests of jobs that ended without having been submitted, if their owner has more than `jobs` or
-- `bytes` of them (0 = any number), `most` requests at most; `letting_go` holds what is left to the next call or the
-- sweep. The record stays for its week, and with it the key, the batch, the list of dead jobs. So does the request of a
-- job that was submitted in an earlier life of its key.
function quotas.let_go(q, who, jobs, bytes, most)
  local kept, LETTING_GO = 'kept:' .. who, q.prefix .. 'letting_go'
  local n = redis.call('ZCARD', q.prefix .. kept)
  if n == 0 then return redis.call('HDEL', LETTING_GO, who) end
  local stored = tonumber(redis.call('HGET', q.prefix .. 'charged', kept) or 0)
  local function drop(id)
    local key, body_key = job_key(q, id), q.prefix .. 'body:' .. id
    local f = job_record.read_fields(q, id, FIELDS)
    if not f or f[3] ~= who or counters.WAITS[f[1]] then return end
    local attempt = tonumber(f[2] or 0)
    counters.bump(q.charges, kept, -redis.call('STRLEN', body_key))
    redis.call('HDEL', key, 'charged')
    if attempt > 0 then return end
    redis.call('SET', body_key, name_of(q, id))
    redis.call('HSET', key, 'let_go', '1') -- see replay.lua
  end
  local function is_too_much()
    return n > 0 and (jobs > 0 and n > jobs or bytes > 0 and stored + (q.charges[kept] or 0) > bytes)
  end
  while most > 0 and is_too_much() do
    local id = redis.call('ZPOPMIN', q.prefix .. kept)[1]
    drop(id)
    n, most = n - 1, most - 1
  end
  if n == 0 then counters.bump(q.charges, kept, -stored - (q.charges[kept] or 0)) end
  if is_too_much() then
    redis.call('HSET', LETTING_GO, who, int(jobs) .. ' ' .. int(bytes))
  else
    redis.call('HDEL', LETTING_GO, who)
  end
end

return quotas
