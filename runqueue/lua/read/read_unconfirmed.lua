-- use: unconfirmed
-- flags: no-writes
-- Reads all unconfirmed jobs, a page at a time, and since when submissions are under way.
-- ARGV  now_us, offset, count (<= 500)
-- Reply { now_us, in_flight_us (when the oldest submission under way was claimed; '' = there is none), total,
--         per job: what lib/jobs/unconfirmed.lua returns }
-- A run that was made after `in_flight_us` may be that of a submission whose answer is still to come. The jobs of a
-- page are ordered by when they became unconfirmed, those without a slot after the others. A caller that reads several
-- pages compares `total` with what it got, since a job that left meanwhile moves the others. The counts differ, too, if
-- a job is quarantined: it is left out, and its request is not known.
local offset, count = tonumber(q.args[2]), tonumber(q.args[3])
local UNCONFIRMED, NO_SLOT, PROCESSES = q.prefix .. 'unconfirmed', q.prefix .. 'unconfirmed_no_slot',
  q.prefix .. 'processes'

local in_flight
for _, process in ipairs(redis.call('ZRANGE', PROCESSES, 0, -1)) do
  local first = redis.call('ZRANGE', q.prefix .. 'claims:' .. process, 0, 0, 'WITHSCORES')
  if first[2] and (not in_flight or tonumber(first[2]) < in_flight) then in_flight = tonumber(first[2]) end
end
local waiting = redis.call('ZCARD', UNCONFIRMED)
local reply = { int(q.now), in_flight and int(in_flight) or '', int(waiting + redis.call('ZCARD', NO_SLOT)) }
for _, id in ipairs(redis.call('ZRANGE', UNCONFIRMED, offset, offset + count - 1)) do
  unconfirmed.describe(q, reply, id)
end
local left = count - math.max(0, math.min(count, waiting - offset))
if left > 0 then
  local start = math.max(0, offset - waiting)
  for _, id in ipairs(redis.call('ZRANGE', NO_SLOT, start, start + left - 1)) do unconfirmed.describe(q, reply, id) end
end
return reply
