-- use: counters job_record times webhooks
-- The states of an ended job's webhook: pending → delivered | abandoned | unknown, and back when an operator sends it
-- again.
local deliveries = {}
function deliveries.end_delivery(q, id, delivery, status, words)
  local job = job_record.read(q, id)
  local before = webhooks.delivery_index(job)
  if before then redis.call('ZREM', q.prefix .. before, id) end
  webhooks.count_delivery(q, job, delivery)
  counters.bump(q.totals, 'webhooks:' .. delivery, 1)
  if delivery == 'delivered' then
    times.observe(q, 'delivery', q.now - tonumber(redis.call('HGET', job_key(q, id), 'ended') or q.now))
  end
  local after = webhooks.delivery_index(job)
  if after then redis.call('ZADD', q.prefix .. after, int(q.now), id) end
  redis.call('HSET', job_key(q, id), 'delivery', delivery, 'delivery_at', int(q.now))
  redis.call('HDEL', job_key(q, id), 'sending', 'forced', 'delivery_status', 'delivery_error')
  if status then redis.call('HSET', job_key(q, id), 'delivery_status', status) end
  if words and words ~= '' then redis.call('HSET', job_key(q, id), 'delivery_error', words) end
  -- What is left is the result, which was not signed.
  if delivery == 'delivered' and redis.call('DEL', q.prefix .. 'webhook:' .. id) == 1 then
    redis.call('HDEL', job_key(q, id), 'signed')
  end
end

return deliveries
