-- flags: refused-when-full
-- Counts the jobs that the bearer of a token submits against its rate limit.
-- GCRA as in lib/account/limits.lua, with a burst of a second's jobs; jobs beyond that are owed: a request is accepted
-- as soon as one job is, whatever its size, and further ones may not go until the debt is worked off.
-- ARGV  now_us, bearer, rate (jobs a second), jobs (0 = only check), request (an id of its own: it is counted once,
--       although it may be sent again when its answer is lost)
-- Reply { 1 = they may go or 0 = they may not, left (how many more may go now), full_us (until all of a second's may) }
local SECOND, MOST = 1000000, 10000 -- more than one request has: gateway/checks/jobs.py
local KNOWN_MS = '60000' -- longer than it is repeated
local rate, jobs = tonumber(q.args[3]), tonumber(q.args[4])
local key, request = q.prefix .. 'gcra:submitted:' .. q.args[2], q.prefix .. 'submitted:' .. q.args[5]
if jobs > 0 and redis.call('EXISTS', request) == 1 then jobs = 0 end
local stored = tonumber(redis.call('GET', key) or 0)
-- After a step back of the clock it must not block for longer than one request can.
local tat = math.min(math.max(q.now, stored), q.now + SECOND + math.ceil(MOST * SECOND / rate))
local function left() return math.max(0, math.floor((q.now + SECOND - tat) * rate / SECOND)) end
local may = jobs == 0 or left() > 0
if may then tat = tat + math.ceil(jobs * SECOND / rate) end
if tat > q.now and tat ~= stored then
  redis.call('SET', key, int(tat), 'PX', int(math.ceil((tat - q.now) / 1000)))
end
if may and jobs > 0 then redis.call('SET', request, '1', 'PX', KNOWN_MS) end
return { may and 1 or 0, int(left()), int(tat - q.now) }
