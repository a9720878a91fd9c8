-- How long jobs and runs take, counted at their ends: histograms in the account's counters, which add up over
-- processes and outlive them. Fields: time:<name>:<bucket>, not cumulated, the bucket being its upper bound in seconds
-- or 'more'; time:<name>:sum in milliseconds. The names and bounds are in runqueue/records/times.py, too.
local times = {}
local BOUNDS = { 0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 60, 120, 300, 600, 1800, 3600, 7200, 21600, 86400 }

-- The fields of each name are put together once: a job has four times.
local function fields_of(name)
  local fields = { sum = 'time:' .. name .. ':sum', [#BOUNDS + 1] = 'time:' .. name .. ':more' }
  for n = 1, #BOUNDS do fields[n] = 'time:' .. name .. ':' .. BOUNDS[n] end
  return fields
end
local FIELDS = { queue = fields_of('queue'), run_queue = fields_of('run_queue'), run = fields_of('run'),
  result = fields_of('result'), delivery = fields_of('delivery') }

function times.observe(q, name, us)
  if us < 0 then us = 0 end -- the clock was set
  local first, fields, totals, seconds = 1, FIELDS[name], q.totals, us / 1000000
  while BOUNDS[first] and seconds > BOUNDS[first] do first = first + 1 end
  local bucket, sum = fields[first], fields.sum
  totals[bucket] = (totals[bucket] or 0) + 1
  totals[sum] = (totals[sum] or 0) + math.floor(us / 1000)
end

return times
