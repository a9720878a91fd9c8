-- use: batches
-- Holds batches whose time is up: nothing more of them is submitted, and live runs continue. Jobs that still wait in
-- one that was not resumed for a week are canceled, so that all of it is removed in time; and again a week later jobs
-- that were submitted again meanwhile, as long as the batch is on record.
-- ARGV  now_us, limit.   Reply: how many batches were due (as many as the limit = call again)
local EXPIRING, CANCELING = PREFIX .. 'expiring', PREFIX .. 'canceling'
local AGAIN = 30000000 -- when a damaged one is checked again
expect(EXPIRING, 'zset')
expect(CANCELING, 'hash')
expect(PREFIX .. 'callbacks', 'zset')
pass_when_full()
if clock_is_stale() then return 0 end
local due = redis.call('ZRANGEBYSCORE', EXPIRING, '-inf', int(NOW), 'LIMIT', 0, ARGV[2])
local function expire(batch)
  local read = read_batch(batch)
  local after = number(batch_key(batch), 'expires_after', redis.call('HGET', batch_key(batch), 'expires_after'))
  redis.call('ZREM', EXPIRING, batch)
  if read.held == 'expired' then
    if read.open > 0 then redis.call('HSETNX', CANCELING, batch, '0') end
    redis.call('ZADD', EXPIRING, int(NOW + KEPT), batch)
  elseif read.sealed == '1' and not FINAL[read.held] and read.open > 0 then
    redis.call('HSET', batch_key(batch), 'held', 'expired', 'why',
      string.format('not all of it was submitted within %.15g s', after / 1000000))
    redis.call('ZADD', EXPIRING, int(NOW + KEPT), batch)
    judge(batch)
  end
end
for _, batch in ipairs(due) do
  if not try(expire, batch) then redis.call('ZADD', EXPIRING, int(NOW + AGAIN), batch) end
end
raise_damage()
return #due
