-- Schedules: `schedules` says when a worker looks at each next, `schedule:<name>` is its record (store/keys.py).
local schedules = {}
local NO_LONGER_NAMED = DAY * 2

-- The time, but for a step ahead that is not believed: neither a mark nor a look moves by it.
function schedules.now(q) return clock_is_stale(q) and math.min(q.now, q.believed) or q.now end

function schedules.key(q, name) return q.prefix .. 'schedule:' .. name end

local function lines_key(q, file) return q.prefix .. 'schedule_lines:' .. file end

-- A schedule for a reply: its record, and of the batch under way: sealed, finished_at, and what became of it.
function schedules.read(q, name)
  local record = redis.call('HGETALL', schedules.key(q, name))
  local batch = redis.call('HGET', schedules.key(q, name), 'batch') or ''
  return record, batch == '' and {} or redis.call('HMGET', q.prefix .. 'batch:' .. batch, 'sealed', 'finished_at',
    'count:completed', 'count:failed', 'count:dead', 'credits')
end

-- Whether a file is stored: its last chunk is empty.
function schedules.has_lines(q, file) return redis.call('LINDEX', lines_key(q, file), -1) == '' end

-- A file lasts while a schedule names it. After that an upload under way may still read it.
function schedules.name_lines(q, old, new)
  if old == new then return end
  if new ~= '' then redis.call('PERSIST', lines_key(q, new)) end
  if old == '' then return end
  for _, name in ipairs(redis.call('ZRANGE', q.prefix .. 'schedules', 0, -1)) do
    if redis.call('HGET', schedules.key(q, name), 'lines') == old then return end
  end
  redis.call('PEXPIRE', lines_key(q, old), int(NO_LONGER_NAMED / 1000))
end

-- Appends the chunk of a file; returns how many it has. A repeated one changes nothing.
function schedules.put_lines(q, file, place, chunk)
  local key = lines_key(q, file)
  local is_named = redis.call('PTTL', key) == -1
  if redis.call('LLEN', key) == place and not schedules.has_lines(q, file) then redis.call('RPUSH', key, chunk) end
  if not is_named then redis.call('PEXPIRE', key, int(NO_LONGER_NAMED / 1000)) end
  return redis.call('LLEN', key)
end

return schedules
