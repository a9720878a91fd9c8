-- use: limits
-- The capacity of an account: submissions a second, and runs at once (less those of others), each 0 = no limit; how long
-- its runs take, in microseconds ('' = not known): the mean of all of them, or of those that webhooks reported.
local capacity = {}
function capacity.read(q)
  local limit = limits.read(q)
  local f = redis.call('HMGET', q.meta, 'run_mean', 'webhook_mean')
  return { string.format('%.6f', limit.submissions), int((limits.slots(q, limit))), f[1] or f[2] or '' }
end

return capacity
