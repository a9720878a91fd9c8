-- use: limits
-- The capacity of an account (needs limits.lua): submissions a second and runs at once, each 0 = no limit; how long its
-- runs take, in microseconds ('' = not known): the mean of all of them, or of those that webhooks reported.
local function capacity()
  local limits = read_limits()
  local f = redis.call('HMGET', META, 'run_mean', 'push_mean')
  return { string.format('%.6f', limits.dispatch), int(limits.concurrent_runs), f[1] or f[2] or '' }
end
