-- use: counters record times webhooks
-- The states of an ended job's webhook: pending → delivered | gave_up | unknown, and back when an operator sends it
-- again.
local function end_delivery(id, delivery, status, words)
  local job = read_job(id)
  local before = delivery_index(job)
  if before then redis.call('ZREM', PREFIX .. before, id) end
  count_delivery(job, delivery)
  bump(totals, 'webhooks:' .. delivery, 1)
  if delivery == 'delivered' then observe('delivery', NOW - tonumber(redis.call('HGET', job_key(id), 'ended') or NOW)) end
  local after = delivery_index(job)
  if after then redis.call('ZADD', PREFIX .. after, int(NOW), id) end
  redis.call('HSET', job_key(id), 'delivery', delivery, 'told_at', int(NOW))
  redis.call('HDEL', job_key(id), 'sending', 'forced', 'told', 'told_error')
  if status then redis.call('HSET', job_key(id), 'told', status) end
  if words and words ~= '' then redis.call('HSET', job_key(id), 'told_error', words) end
  -- What is left is the result, which was not signed.
  if delivery == 'delivered' and redis.call('DEL', PREFIX .. 'webhook:' .. id) == 1 then
    redis.call('HDEL', job_key(id), 'signed')
  end
end
