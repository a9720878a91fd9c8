-- use: active_consumers quotas
-- flags: refused-when-full
-- Takes lines of the inbox, each under its own number: inbox → inbox:taken. A line that its process did not settle in
-- time (inbox_done.lua) is returned again, under its number.
-- ARGV  now_us, process, want (lines; 0 = only refresh), tick_us (0 = not the first), stay_idle (0 | 1),
--       lease_us, allowed_bytes (the last line may go beyond)
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us (0 = there is none), consumer_left (0 | 1), per line: number, line }
--       consumer_left = 1: there is nothing to do, the consumer is not active any more.
-- A full server refuses it, and the lines stay in the inbox; so do lines beyond the account's quotas.
local process, want, tick_us, stay_idle = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), q.args[5] == '1'
local lease, bytes_left = tonumber(q.args[6]), tonumber(q.args[7])
local INBOX, TAKEN, LEASES = q.prefix .. 'inbox', q.prefix .. 'inbox:taken', q.prefix .. 'inbox:leases'
local last = tonumber(redis.call('HGET', q.meta, 'inbox_number') or 0)
local refused = active_consumers.enter(q, 'inbox', process, tick_us)
if refused then return refused end

-- While the quotas are used up, the inbox is checked once a second.
local AGAIN = 1000000
local is_full = false
if want > 0 then
  local most_jobs, most_bytes = quotas.read(q)
  if most_jobs > 0 then want = math.max(0, math.min(want, most_jobs - quotas.jobs_waiting(q))) end
  if most_bytes > 0 then
    bytes_left = math.min(bytes_left, most_bytes - tonumber(redis.call('HGET', q.prefix .. 'quota_use', 'bytes') or 0))
  end
  is_full = want == 0 or bytes_left <= 0
end

local reply, leased, fresh = { 'ok', int(q.now), '0', 0 }, {}, {}
local function add(its_number, line)
  reply[#reply + 1] = its_number
  reply[#reply + 1] = line
  leased[#leased + 1] = int(q.now + lease)
  leased[#leased + 1] = its_number
  bytes_left = bytes_left - #line
end
local function has_room() return #leased / 2 < want and bytes_left > 0 end

local overdue = {}
if want > 0 then overdue = redis.call('ZRANGEBYSCORE', LEASES, '-inf', int(q.now), 'LIMIT', 0, want) end
for _, taken in ipairs(overdue) do
  if not has_room() then break end
  local line = redis.call('HGET', TAKEN, taken)
  if line then
    add(taken, line)
  else
    redis.call('ZREM', LEASES, taken)
  end
end

while has_room() do
  local line = redis.call('LINDEX', INBOX, #fresh / 2)
  if not line then break end
  last = last + 1
  fresh[#fresh + 1] = int(last)
  fresh[#fresh + 1] = line
  add(int(last), line)
end
if #fresh > 0 then
  redis.call('HSET', q.meta, 'inbox_number', int(last))
  in_parts('HSET', TAKEN, fresh)
  redis.call('LTRIM', INBOX, #fresh / 2, -1)
end
if #leased > 0 then
  in_parts('ZADD', LEASES, leased)
  if redis.call('EXISTS', INBOX) == 1 or redis.call('ZCOUNT', LEASES, '-inf', int(q.now)) > 0 then
    reply[3] = int(q.now)
  end
elseif is_full then
  reply[3] = int(q.now + AGAIN)
elseif want > 0 and not stay_idle then
  active_consumers.leave(q, 'inbox', process)
  reply[4] = 1
end
return reply
