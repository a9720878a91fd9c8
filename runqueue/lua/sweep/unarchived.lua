-- use: archive retention
-- Reads ended jobs that are not archived, in the order of their ends, and those that are to be read again; one process
-- of an account at a time does, which has the lease.
-- ARGV  now_us, process, lease_us, archive's id, host ('' = many hosts may write to it), trouble ('' = none; else it is
--       recorded, and nothing is read), from ('' = from archiving's position, and jobs to be read again; else the second
--       position of an earlier reply), limit (entries), allowed_bytes (of one reply; one job may go beyond)
-- Reply { now_us, 'refused', why }, { now_us, 'busy' }: another process has the lease; { now_us, 'trouble' }; or
--       { now_us, 'ok', more (1 = call again), position of these, position after them, per job: id, when it was to be
--         read again ('' = it is the lists'), when it is then ('' = its record is final), record, body, result ('' = none),
--         its batch's metadata ('' = none) }
-- archived.lua records the position. A job that was submitted again after its end comes by its next one.
local SETTLED, HOST_STAYS, NEW_DAY = 2000000, 60000000, 10000000
local AGAIN_FIRST, AGAIN_MOST = 60000000, 3600000000
local RECORD_BYTES = 1000

local function why_refused(q, id, host)
  local f = redis.call('HMGET', archive.key(q), 'id', 'host')
  if f[1] and f[1] ~= id then
    return 'the account writes to archive ' .. f[1] .. ', and this one is ' .. id
  end
  local used, other = string.match(f[2] or '', '^(%d+) (.*)$')
  if host ~= '' and other and other ~= host and math.abs(q.now - tonumber(used)) < HOST_STAYS then
    return 'its SQLite file is used by host ' .. other .. ', and this is ' .. host .. ': use PostgreSQL for several hosts'
  end
end

-- Records what keeps a process from archiving; '' = nothing does now.
local function note_trouble(q, process, words)
  if words ~= '' then
    redis.call('HSET', archive.key(q), 'trouble', int(q.now) .. ' ' .. process .. ' ' .. words)
  elseif string.match(redis.call('HGET', archive.key(q), 'trouble') or '', '^%d+ (%S+) ') == process then
    redis.call('HDEL', archive.key(q), 'trouble')
  end
end

-- When a job of which more may come is read again; '' = it is final.
local function next_read(q, f)
  local ended, delivery, forced, run_id = tonumber(f[2]), f[4], tonumber(f[5] or 0), f[6]
  if delivery ~= 'pending' and not (run_id and redis.call('ZSCORE', q.prefix .. 'run_details', run_id)) then
    return ''
  end
  local age = q.now - math.max(ended, forced)
  return int(q.now + math.max(AGAIN_FIRST, math.min(AGAIN_MOST, age)))
end

-- Adds a job to the reply. The second value is true if it does not fit, or ended just now.
local function add(q, reply, id, due)
  local f = redis.pcall('HMGET', job_key(q, id), 'state', 'ended', 'archived', 'delivery', 'forced', 'run_id', 'batch')
  local ended = not f.err and ENDED[f[1] or ''] and tonumber(f[2])
  if not ended or f[3] then return false end -- done again, removed, an orphan run; or nothing of it is left here
  if due == '' and ended > q.now - SETTLED and ended <= q.now then return false, true end
  local body_key, result_key = q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id
  local size = RECORD_BYTES + redis.call('STRLEN', body_key) + redis.call('STRLEN', result_key)
  if reply.bytes_left < size and reply[6] then
    reply[3] = 1
    return false, true
  end
  reply.bytes_left = reply.bytes_left - size
  local metadata = f[7] and redis.call('HGET', q.prefix .. 'batch:' .. f[7], 'metadata') or ''
  for _, value in ipairs({ id, due, next_read(q, f), redis.call('HGETALL', job_key(q, id)),
    redis.call('GET', body_key) or '', redis.call('GET', result_key) or '', metadata }) do
    reply[#reply + 1] = value
  end
  return true
end

local function add_again(q, reply, limit)
  local index = q.prefix .. 'archive_again'
  local found = redis.call('ZRANGEBYSCORE', index, '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0, limit)
  for i = 1, #found, 2 do
    local is_added, is_full = add(q, reply, found[i], int(tonumber(found[i + 1])))
    if is_full then return end
    if not is_added then redis.call('ZREM', index, found[i]) end
  end
  if #found == 2 * limit then reply[3] = 1 end
end

local function add_listed(q, reply, position, limit)
  local today, seen, walked = math.floor(q.now / DAY), {}, 0
  for i = 6, #reply, 7 do seen[reply[i]] = true end
  while walked < limit do
    local want = limit - walked
    local ids = redis.call('LRANGE', q.prefix .. 'ended:' .. int(position.day), position.at, position.at + want - 1)
    for _, id in ipairs(ids) do
      if not seen[id] then
        local _, is_full = add(q, reply, id, '')
        if is_full then return end
        seen[id] = true
      end
      walked, position.at = walked + 1, position.at + 1
    end
    if #ids < want then
      -- Clocks differ by up to two seconds: an end may still come to the list of yesterday.
      if position.day >= today or q.now < (position.day + 1) * DAY + NEW_DAY then return end
      position.day, position.at, position.pops = position.day + 1, 0, 0
    end
  end
  reply[3] = 1
end

local function body(q)
  local process, trouble, from, limit = q.args[2], q.args[6], q.args[7], tonumber(q.args[8])
  local why = trouble == '' and why_refused(q, q.args[4], q.args[5])
  note_trouble(q, process, why or trouble)
  if trouble ~= '' then return { int(q.now), 'trouble' } end
  if why then return { int(q.now), 'refused', why } end
  if not archive.take_lease(q, process, tonumber(q.args[3])) then return { int(q.now), 'busy' } end
  redis.call('HSET', archive.key(q), 'id', q.args[4])
  if q.args[5] ~= '' then redis.call('HSET', archive.key(q), 'host', int(q.now) .. ' ' .. q.args[5]) end
  local stands = redis.call('HGET', archive.key(q), 'at') or ''
  local reply = { int(q.now), 'ok', 0, stands, stands, bytes_left = tonumber(q.args[9]) }
  if clock_is_stale(q) then return reply end
  if from == '' then add_again(q, reply, math.ceil(limit / 2)) end
  local position = archive.position(from ~= '' and from or stands)
  local oldest = archive.oldest_day(q, retention.read(q).longest)
  if position.day < oldest then position = { day = oldest, at = 0, pops = 0 } end
  add_listed(q, reply, position, limit)
  reply[5] = archive.text(position)
  return reply
end
