-- use: limits
-- The capacity of an account (needs limits.lua): submissions a second and runs at once, each 0 = no limit; how long its
-- runs take, in microseconds ('' = not known): the mean of all of them, or of those that webhooks reported; and for how
-- long nothing is submitted, in microseconds (-1 = until an operator resumes it).
local function capacity()
  local limits = read_limits()
  local f = redis.call('HMGET', META, 'run_mean', 'push_mean', 'paused', 'hold_until')
  local held = f[3] and '-1' or int(math.max(0, tonumber(f[4] or 0) - NOW))
  return { string.format('%.6f', limits.dispatch), int(limits.concurrent_runs), f[1] or f[2] or '', held }
end
