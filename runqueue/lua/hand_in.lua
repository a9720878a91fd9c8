-- Counts jobs that a bearer of a token hands in against how many that may be a second.
-- GCRA as in lib/limits.lua, with room for a second's jobs, but what goes beyond that is owed: a request goes as
-- soon as one job may, whatever it holds, and the next ones wait until that is made up for.
-- ARGV  now_us, bearer, rate (jobs a second), jobs (0 = only look)
-- Reply { 1 = they may go or 0 = they may not, left (how many more may go now), full_us (until all of a second's may) }
local SECOND, MOST = 1000000, 10000 -- of one request: gateway/bulk.py
local rate, jobs = tonumber(ARGV[3]), tonumber(ARGV[4])
local key = PREFIX .. 'gcra:handed:' .. ARGV[2]
expect(key, 'string')
local stored = tonumber(redis.call('GET', key) or 0)
-- A clock that went back must not close the door for longer than one request may.
local tat = math.min(math.max(NOW, stored), NOW + SECOND + math.ceil(MOST * SECOND / rate))
local function left() return math.max(0, math.floor((NOW + SECOND - tat) * rate / SECOND)) end
local may = jobs == 0 or left() > 0
if may then tat = tat + math.ceil(jobs * SECOND / rate) end
if tat > NOW and tat ~= stored then
  redis.call('SET', key, int(tat), 'PX', int(math.ceil((tat - NOW) / 1000)))
end
return { may and 1 or 0, int(left()), int(tat - NOW) }
