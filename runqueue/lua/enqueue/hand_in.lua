-- Counts jobs that a bearer of a token hands in against how many that may be a second.
-- GCRA as in lib/account/limits.lua, with room for a second's jobs, but what goes beyond that is owed: a request goes as
-- soon as one job may, whatever it holds, and the next ones wait until that is made up for.
-- ARGV  now_us, bearer, rate (jobs a second), jobs (0 = only look), request (an id of its own: it is counted once,
--       although it may be sent again when its answer is lost)
-- Reply { 1 = they may go or 0 = they may not, left (how many more may go now), full_us (until all of a second's may) }
local SECOND, MOST = 1000000, 10000 -- of one request: gateway/api/bulk.py
local KNOWN_MS = '60000' -- longer than anybody sends it again
local rate, jobs = tonumber(ARGV[3]), tonumber(ARGV[4])
local key, request = PREFIX .. 'gcra:handed:' .. ARGV[2], PREFIX .. 'handed:' .. ARGV[5]
expect(key, 'string')
if jobs > 0 and redis.call('EXISTS', request) == 1 then jobs = 0 end
local stored = tonumber(redis.call('GET', key) or 0)
-- A clock that went back must not close the door for longer than one request may.
local tat = math.min(math.max(NOW, stored), NOW + SECOND + math.ceil(MOST * SECOND / rate))
local function left() return math.max(0, math.floor((NOW + SECOND - tat) * rate / SECOND)) end
local may = jobs == 0 or left() > 0
if may then tat = tat + math.ceil(jobs * SECOND / rate) end
if tat > NOW and tat ~= stored then
  redis.call('SET', key, int(tat), 'PX', int(math.ceil((tat - NOW) / 1000)))
end
if may and jobs > 0 then redis.call('SET', request, '1', 'PX', KNOWN_MS) end
return { may and 1 or 0, int(left()), int(tat - NOW) }
