-- use: active_consumers schedules
-- Takes schedules that are due; each is due again after `lease_us`, unless it is recorded (record_schedule.lua).
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), stay_idle (0 | 1), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us (0 = there is none), consumer_left (0 | 1), per schedule as schedules.read }
--       consumer_left = 1: there is nothing to do, the consumer is not active any more.
local SCHEDULES, process, want, lease = q.prefix .. 'schedules', q.args[2], tonumber(q.args[3]), tonumber(q.args[6])
local refused = active_consumers.enter(q, 'schedules', process, tonumber(q.args[4]))
if refused then return refused end

local reply = { 'ok', int(q.now), '0', 0 }
local due = want > 0 and redis.call('ZRANGEBYSCORE', SCHEDULES, '-inf', int(q.now), 'LIMIT', 0, want) or {}
for _, name in ipairs(due) do
  if redis.call('HEXISTS', schedules.key(q, name), 'version') == 1 then
    redis.call('ZADD', SCHEDULES, int(q.now + lease), name)
    redis.call('HSET', schedules.key(q, name), 'claimed', process .. ' ' .. int(q.now + lease))
    for _, part in ipairs({ schedules.read(q, name) }) do reply[#reply + 1] = part end
  else
    redis.call('ZREM', SCHEDULES, name) -- nothing is left of it
  end
end
local first = redis.call('ZRANGE', SCHEDULES, 0, 0, 'WITHSCORES')[2]
if first and tonumber(first) < q.now + 1000000 then
  reply[3] = first
elseif want > 0 and #due == 0 and q.args[5] == '0' then
  active_consumers.leave(q, 'schedules', process)
  reply[4] = 1
end
return reply
