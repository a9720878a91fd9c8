-- use: limits board
-- Takes running jobs whose poll is due, and strays; each comes again after `lease_us` if nobody records it (a
-- stray after a tenth of its age, if that is longer).
-- A stray that was not seen to end takes no slot any more after the longest time that a run takes.
-- ARGV  now_us, process, want (0 refreshes the board), tick_us (0 = not the first), lease_us, max_run_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, left (0 | 1), per job: id ('' = a stray), attempt, run_id, run_status,
--         started_us, deadline_us ('' none), retry (the policy's JSON, '' none), runs (that ended before) }
--       next_us = when a permit or the next poll is due; left = 1: none due within a second, the pump
--       is off the board.
local process, want, tick_us, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local max_run = tonumber(ARGV[6])
local POLL = PREFIX .. 'poll'
local STAYS_FOR = 1000000
local MAX_OVER = 16 -- strays looked through for those whose time is over
expect(POLL, 'zset')
expect(STRAY_LOOKS, 'zset')
pass_when_full() -- only runs that are looked at can end, and free memory
local refused = board_enter('poll', process, tick_us)
if refused then return refused end

local limits = read_limits()
local room, next_us = allowed('request', limits.requests_per_second, limits.burst, want)
local reply, leased, looked = {}, {}, 0

-- Strays get what the jobs leave, and a quarter of it at least; of very little room one that waits for long.
local due = redis.call('ZCOUNT', POLL, '-inf', int(NOW))
local for_strays = math.max(room - due, math.floor(room / 4))
local strays = redis.call('ZRANGEBYSCORE', STRAY_LOOKS, '-inf', int(NOW), 'WITHSCORES', 'LIMIT', 0,
  math.max(for_strays, MAX_OVER))
if for_strays < 1 and room > 0 and strays[2] and tonumber(strays[2]) < NOW - lease then for_strays = 1 end
for i = 1, #strays, 2 do
  local run_id = strays[i]
  local told = redis.call('HGET', PREFIX .. 'strays', run_id)
  local attempt, since = string.match(told or '', '^%S+ (%d+) (%d+)')
  if since and tonumber(since) > NOW - max_run then
    if looked >= for_strays then break end
    local next_look = NOW + math.max(lease, math.floor((NOW - tonumber(since)) / 10))
    redis.call('ZADD', STRAY_LOOKS, int(math.min(next_look, tonumber(since) + max_run)), run_id)
    for _, field in ipairs({ '', attempt, run_id, '', since, '', '', '' }) do reply[#reply + 1] = field end
    looked = looked + 1
  else
    stray_is_over(run_id)
  end
end

local ids = {}
if room > looked then ids = redis.call('ZRANGEBYSCORE', POLL, '-inf', int(NOW), 'LIMIT', 0, room - looked) end
take('request', limits.requests_per_second, looked + #ids)
bump(totals, 'calls:get', looked + #ids)

for _, id in ipairs(ids) do
  local f = redis.call('HMGET', job_key(id), 'attempt', 'run_id', 'run_status', 'started', 'deadline',
    'retry', 'runs')
  leased[#leased + 1] = int(NOW + lease)
  leased[#leased + 1] = id
  reply[#reply + 1] = id
  for field = 1, 7 do reply[#reply + 1] = f[field] or '' end
end
if #leased > 0 then redis.call('ZADD', POLL, unpack(leased)) end
local left = 0
if next_us == 0 and want > 0 then
  for _, index in ipairs({ POLL, STRAY_LOOKS }) do
    local first = tonumber(redis.call('ZRANGE', index, 0, 0, 'WITHSCORES')[2] or 0)
    if first > 0 and (next_us == 0 or first < next_us) then next_us = first end
  end
  if looked + #ids == 0 and (next_us == 0 or next_us > NOW + STAYS_FOR) then
    board_leave('poll', process)
    left = 1
  end
end
save()
return { 'ok', int(NOW), int(next_us), left, unpack(reply) }
