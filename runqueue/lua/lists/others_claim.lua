-- use: active_consumers
-- Takes the reading of the list that shows runs of others, if it is due (limits.lua). One that nobody records is due
-- again after `lease_us`; while the runs since a change of Redis servers are not listed, none is made.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or { 'ok', now_us, next_us, consumer_left (0 | 1), taken (0 | 1) }
local process, want, tick_us = q.args[2], tonumber(q.args[3]), tonumber(q.args[4])
local DUE_SOON = 1000000
local refused = active_consumers.enter(q, 'others', process, tick_us)
if refused then return refused end

local f, taken, consumer_left = redis.call('HMGET', q.meta, 'others_at', 'recover_from'), 0, 0
local next_us = f[2] and q.now + 2 * DUE_SOON or tonumber(f[1] or 0)
if want > 0 and next_us <= q.now then
  taken, next_us = 1, q.now + tonumber(q.args[5])
  redis.call('HSET', q.meta, 'others_at', int(next_us))
elseif want > 0 and next_us > q.now + DUE_SOON then
  active_consumers.leave(q, 'others', process)
  consumer_left = 1
end
return { 'ok', int(q.now), int(next_us), consumer_left, taken }
