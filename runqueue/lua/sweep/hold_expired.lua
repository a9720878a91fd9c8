-- use: batches
-- Holds batches whose time is up: nothing more of them is submitted, and live runs continue. Jobs that still wait in
-- one that was not resumed for RETENTION are canceled, so that all of it is removed in time; and RETENTION later jobs
-- that were submitted again meanwhile, as long as the batch is on record.
-- ARGV  now_us, limit.   Reply: how many batches were due (as many as the limit = call again)
local EXPIRING, CANCELING = q.prefix .. 'expiring', q.prefix .. 'canceling'
if clock_is_stale(q) then return 0 end
local due = redis.call('ZRANGEBYSCORE', EXPIRING, '-inf', int(q.now), 'LIMIT', 0, q.args[2])
local function expire(batch)
  redis.call('ZREM', EXPIRING, batch)
  local read = batches.read(q, batch)
  if read.held == 'expired' then
    if read.open > 0 then redis.call('HSETNX', CANCELING, batch, '0') end
    redis.call('ZADD', EXPIRING, int(q.now + RETENTION), batch)
  elseif read.sealed == '1' and not batches.FINAL[read.held] and read.open > 0 then
    redis.call('HSET', batches.key(q, batch), 'held', 'expired', 'why',
      string.format('not all of it was submitted within %.15g s',
        tonumber(redis.call('HGET', batches.key(q, batch), 'expires_after')) / 1000000))
    redis.call('ZADD', EXPIRING, int(q.now + RETENTION), batch)
    batches.judge(q, batch)
  end
end
for _, batch in ipairs(due) do expire(batch) end
return #due
