-- use: counters
-- How long jobs and runs take, counted at their ends: histograms in the account's counters, which add up over
-- processes and outlive them. Fields: time:<name>:<bucket>, not cumulated, the bucket being its upper bound in seconds
-- or 'more'; time:<name>:sum in milliseconds. The names and bounds are in runqueue/records/times.py, too.
local BOUNDS = { 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400 }

-- The last time counted under a name: the jobs of a group are much alike, so most fall into the same bucket.
local timed = {}
local function bucket_of(name, seconds)
  local first = 1
  while BOUNDS[first] and seconds > BOUNDS[first] do first = first + 1 end
  local bucket = { above = BOUNDS[first - 1] or -1, to = BOUNDS[first] or math.huge,
    field = 'time:' .. name .. ':' .. (BOUNDS[first] or 'more'), sum = 'time:' .. name .. ':sum' }
  timed[name] = bucket
  return bucket
end

local floor = math.floor
local function observe(name, us)
  if us < 0 then us = 0 end -- the clock was set
  local seconds, bucket = us / 1000000, timed[name]
  if not bucket or seconds <= bucket.above or seconds > bucket.to then bucket = bucket_of(name, seconds) end
  local field, sum = bucket.field, bucket.sum
  totals[field] = (totals[field] or 0) + 1
  totals[sum] = (totals[sum] or 0) + floor(us / 1000)
end

local function steps_of(times) return tonumber(string.match(times, '^%d*:%d*:(%d+)$') or nil) end

-- What Skyvern reports of a job's ended run: '<queued_ms>:<ran_ms>:<steps>', each '' if it is not reported.
local function observe_run(job, times)
  notes.ended(job, steps_of(times))
  local queued, ran, steps = string.match(times, '^(%d*):(%d*):(%d*)$')
  if not queued then return end
  if queued ~= '' then observe('run_queue', tonumber(queued) * 1000) end
  if ran ~= '' then observe('run', tonumber(ran) * 1000) end
  if steps ~= '' then
    bump(totals, 'steps', tonumber(steps))
    bump(totals, 'steps:runs', 1)
    bump(totals, 'steps:sum', tonumber(steps)) -- of the runs that `steps:runs` counts
    bump(totals, 'steps:squares', tonumber(steps) ^ 2)
  end
end
