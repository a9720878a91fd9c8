-- use: counters active_consumers changes unconfirmed
-- Takes unconfirmed jobs whose next search is due; each is due again after `lease_us` unless a search is recorded.
-- ARGV  now_us, process, want, tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), recover_from_us (0 = nothing to recover, see server.lua),
--         recover_since_us, lost (how many later claims a process remembers), recover_date_us ('' = not known),
--         deaths (1 = a process may have died with claims that this Redis does not know),
--         per job: what lib/jobs/unconfirmed.lua returns }
--       next_us = when the next search is due; consumer_left = 1: none within a second, the consumer is not
--       active any more.
-- Takes no permits: the number of a search's calls is not known yet (see permits.lua).
local process, want, tick_us, lease = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), tonumber(q.args[5])
local RECONCILE = q.prefix .. 'reconcile'
local DUE_SOON = 1000000
local refused = active_consumers.enter(q, 'reconcile', process, tick_us)
if refused then return refused end

local recover = redis.call('HMGET', q.meta, 'recover_from', 'recover_since', 'remembered', 'sequence', 'recover_date',
  'recover_deaths')
local recover_from = recover[2] and recover[1] or '0'
local lost = recover[3] and int(math.max(1, tonumber(recover[3]) - tonumber(recover[4] or 0))) or '0'
local deaths = recover[6] or redis.call('ZCOUNT', q.prefix .. 'processes', '(1', int(q.now)) > 0 and '1' or '0'
local reply, leased = {}, {}
for _, id in ipairs(redis.call('ZRANGEBYSCORE', RECONCILE, '-inf', int(q.now), 'LIMIT', 0, want)) do
  if unconfirmed.describe(q, reply, id) then
    leased[#leased + 1] = int(q.now + lease)
    leased[#leased + 1] = id
  else
    counters.remove_later(q, 'reconcile', id)
  end
end
if #leased > 0 then redis.call('ZADD', RECONCILE, unpack(leased)) end
changes.save(q)
local first = redis.call('ZRANGE', RECONCILE, 0, 0, 'WITHSCORES')
local next_us, consumer_left = tonumber(first[2] or 0), 0
if #reply == 0 and recover_from == '0' and want > 0 and (next_us == 0 or next_us > q.now + DUE_SOON) then
  active_consumers.leave(q, 'reconcile', process)
  consumer_left = 1
end
return { 'ok', int(q.now), int(next_us), consumer_left, recover_from, recover[2] or '0', lost, recover[5] or '', deaths,
  unpack(reply) }
