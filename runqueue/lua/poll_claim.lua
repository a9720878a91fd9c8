-- use: limits board
-- Takes running jobs whose poll is due; each comes again after `lease_us` if nobody records it.
-- ARGV  now_us, process, want (0 refreshes the board), tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, left (0 | 1), per job: id, attempt, run_id, run_status, started_us,
--         deadline_us ('' none), retry (the policy's JSON, '' none), runs (that ended before) }
--       next_us = when a permit or the next poll is due; left = 1: none due within a second, the pump
--       is off the board.
local process, want, tick_us, lease = ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local POLL = PREFIX .. 'poll'
local STAYS_FOR = 1000000
expect(POLL, 'zset')
pass_when_full() -- only runs that are looked at can end, and free memory
local refused = board_enter('poll', process, tick_us)
if refused then return refused end

local limits = read_limits()
local room, next_us = allowed('request', limits.requests_per_second, limits.burst, want)
local ids = {}
if room > 0 then ids = redis.call('ZRANGEBYSCORE', POLL, '-inf', int(NOW), 'LIMIT', 0, room) end
take('request', limits.requests_per_second, #ids)

local reply, leased = {}, {}
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
  local first = redis.call('ZRANGE', POLL, 0, 0, 'WITHSCORES')
  next_us = tonumber(first[2] or 0)
  if #ids == 0 and (next_us == 0 or next_us > NOW + STAYS_FOR) then
    board_leave('poll', process)
    left = 1
  end
end
return { 'ok', int(NOW), int(next_us), left, unpack(reply) }
