-- use: limits board
-- Takes runs whose cancel is due; each comes again after `lease_us` until its end is recorded.
-- ARGV  now_us, process, want, tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, left (0 | 1), per job: id ('' = a stray), attempt, run_id, since_us }
--       since_us = when the first try was made: a cancel asked for while no run was known is not older.
local process, want, tick_us, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local CANCELS = PREFIX .. 'cancels'
expect(CANCELS, 'zset')
pass_when_full()
local refused = board_enter('cancel', process, tick_us)
if refused then return refused end

local limits = read_limits()
local room, next_us = allowed('request', limits.requests_per_second, limits.burst, want)
local ids, reply = {}, {}
if room > 0 then ids = redis.call('ZRANGEBYSCORE', CANCELS, '-inf', int(NOW), 'LIMIT', 0, room) end
take('request', limits.requests_per_second, #ids)
if #ids > 0 then redis.call('HINCRBY', COUNTERS, 'calls:cancel', #ids) end
local function add(id)
  local key = job_key(id)
  local f = read_fields(key, 'attempt', 'run_id', 'cancel_since')
  number(key, 'attempt', f[1])
  number(key, 'cancel_since', f[3])
  local stray = string.match(id, '^stray (.*)$')
  if stray then
    redis.call('ZADD', CANCELS, int(NOW + lease), id)
    for _, field in ipairs({ '', '0', stray, int(NOW) }) do reply[#reply + 1] = field end
  elseif f[1] and f[2] then
    redis.call('ZADD', CANCELS, int(NOW + lease), id)
    reply[#reply + 1] = id
    for field = 1, 3 do reply[#reply + 1] = f[field] or int(NOW) end
    if not f[3] then redis.call('HSET', key, 'cancel_since', int(NOW)) end
  else
    redis.call('ZREM', CANCELS, id)
  end
end
for _, id in ipairs(ids) do
  if not try(add, id) then
    redis.call('ZREM', CANCELS, id)
    set_aside('job ' .. id)
  end
end
local left = 0
if #ids == 0 and next_us == 0 and want > 0 then
  board_leave('cancel', process)
  left = 1
end
return { 'ok', int(NOW), int(next_us), left, unpack(reply) }
