-- How long things take, counted where they end: histograms in the account's counters, which add up over processes
-- and outlive them. Fields: time:<name>:<bucket>, not cumulated, the bucket being its upper bound in seconds or
-- 'more'; time:<name>:sum in milliseconds. The names and the bounds stand in runqueue/times.py, too.
local BOUNDS = { 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400 }

-- What a script of a hundred jobs asks for a hundred times is made once.
local timed = {}
local function fields_of(name)
  local fields = timed[name]
  if not fields then
    fields = { sum = 'time:' .. name .. ':sum' }
    timed[name] = fields
  end
  return fields
end

local floor = math.floor
local function observe(name, us)
  if us < 0 then us = 0 end -- the clock was set
  local seconds, first, last = us / 1000000, 1, #BOUNDS + 1
  while first < last do
    local middle = floor((first + last) / 2)
    if seconds <= BOUNDS[middle] then last = middle else first = middle + 1 end
  end
  local fields = fields_of(name)
  local field = fields[first]
  if not field then
    field = 'time:' .. name .. ':' .. (BOUNDS[first] or 'more')
    fields[first] = field
  end
  bump(totals, field, 1)
  bump(totals, fields.sum, floor(us / 1000))
end

-- What Skyvern tells of a run that is over: '<queued_ms>:<ran_ms>:<steps>', each '' where it is not told.
local function observe_run(times)
  if times == '' then return end
  local queued, ran, steps = string.match(times, '^(%d*):(%d*):(%d*)$')
  if not queued then return end
  if queued ~= '' then observe('run_queue', tonumber(queued) * 1000) end
  if ran ~= '' then observe('run', tonumber(ran) * 1000) end
  if steps ~= '' then bump(totals, 'steps', tonumber(steps)) end
end
