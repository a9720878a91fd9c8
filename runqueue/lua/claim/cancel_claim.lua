-- use: active_consumers limits job_record
-- Takes runs whose cancel is due; each is due again after `lease_us` until its end is recorded. Paused runs that a
-- person approved are taken, too ('approve <id>'): each once, since a repeated call could approve the run's next pause.
-- ARGV  now_us, process, want, tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), per job: id ('' = an orphan run), attempt, run_id, tried_us,
--         approval (0 | 1) }
--       tried_us = for how long canceling was tried: a cancel requested before the run was known counts from then. Of
--       the time between two tries at most a minute counts: without any worker nothing was tried.
local process, want, tick_us, lease = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), tonumber(q.args[5])
local CANCELS, MOST_BETWEEN = q.prefix .. 'cancels', 60000000
local refused = active_consumers.enter(q, 'cancel', process, tick_us)
if refused then return refused end

local limit = limits.read(q)
local room, next_us = limits.allowed(q, 'request', limit.requests_per_second, limit.burst, want)
local due, reply = {}, {}
if room > 0 then due = redis.call('ZRANGEBYSCORE', CANCELS, '-inf', int(q.now), 'WITHSCORES', 'LIMIT', 0, room) end
limits.take(q, 'request', limit.requests_per_second, #due / 2)
if #due > 0 then redis.call('HINCRBY', q.prefix .. 'counters', 'calls:cancel', #due / 2) end
local function take(id, attempt, run_id, tried, is_approval)
  for _, field in ipairs({ id, attempt, run_id, int(tried), is_approval }) do reply[#reply + 1] = field end
end
local function add(id, due_at)
  local approved = string.match(id, '^approve (.*)$')
  local key = job_key(q, approved or id)
  local f = job_record.read_fields(q, approved or id, job_record.CANCELED) or {}
  local before = tonumber(f[4] or q.now)
  local orphan = string.match(id, '^orphan (.*)$')
  if approved then
    redis.call('ZREM', CANCELS, id)
    if f[1] == 'running' and f[5] == 'paused' and not f[6] then
      redis.call('HSET', key, 'approving_until', int(q.now + lease))
      take(approved, f[2], f[3], 0, '1')
    end
  elseif orphan then
    redis.call('ZADD', CANCELS, int(q.now + lease), id)
    take('', '0', orphan, 0, '0')
  elseif f[2] and f[3] then
    redis.call('ZADD', CANCELS, int(q.now + lease), id)
    local last = tonumber(due_at) - lease
    local since = math.min(q.now, before + math.max(0, q.now - last - MOST_BETWEEN))
    redis.call('HSET', key, 'cancel_since', int(since))
    take(id, f[2], f[3], q.now - since, '0')
  else
    redis.call('ZREM', CANCELS, id)
  end
end
for i = 1, #due, 2 do add(due[i], due[i + 1]) end
if #due / 2 < room then next_us = 0 end -- there are permits left
local consumer_left = 0
if #due == 0 and next_us == 0 and want > 0 then
  active_consumers.leave(q, 'cancel', process)
  consumer_left = 1
end
return { 'ok', int(q.now), int(next_us), consumer_left, unpack(reply) }
