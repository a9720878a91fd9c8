-- use: counters
-- The indexes of jobs whose webhook is `pending`, `abandoned` or `unknown`; a delivered one is in none.
-- `webhook_route` says how the webhook travels: relay (to our receiver, which sends it on), watch (to the user, by
-- Skyvern; whether it arrives is watched), push (to our receiver only).
local webhooks = {}
function webhooks.delivery_index(job)
  if job.delivery == 'pending' then return job.webhook_route == 'relay' and 'relays' or 'watches' end
  return job.delivery ~= 'delivered' and job.delivery or nil
end

-- Whether the request has a `webhook_url`. It is in the envelope, the first line of the stored body; a quote within a
-- value is escaped.
function webhooks.has_url(body)
  local at = string.find(body, ',"webhook_url":"', 1, true)
  return at and at < (string.find(body, '\n', 1, true) or 0)
end

-- Signals that a webhook may be relayed now. One element at most, as in `wake`.
function webhooks.wake(q)
  if redis.call('EXISTS', q.prefix .. 'wake:webhooks') == 1 then return end
  redis.call('LPUSH', q.prefix .. 'wake:webhooks', '1')
  redis.call('EXPIRE', q.prefix .. 'wake:webhooks', 60)
end

-- True for a job whose webhook Skyvern sends to our receiver.
function webhooks.comes_to_us(job) return job.webhook_route == 'relay' or job.webhook_route == 'push' end

-- The body that the user gets, as Skyvern signed it. It goes with its job, whatever its retention is.
function webhooks.store_signed(q, id, signed, body)
  redis.call('SET', q.prefix .. 'webhook:' .. id, body, 'PX', int((MOST_RETENTION + DAY) / 1000))
  redis.call('HSET', job_key(q, id), 'signed', signed)
end

function webhooks.count_delivery(q, job, delivery)
  if job.delivery then counters.bump(q.totals, 'delivery:' .. job.delivery, -1) end
  if delivery then counters.bump(q.totals, 'delivery:' .. delivery, 1) end
  job.delivery = delivery
end

-- The webhook of a run that the job does not have any more is not delivered.
function webhooks.drop_delivery(q, job)
  if not job.delivery then return end
  local index = webhooks.delivery_index(job)
  if index then counters.remove_later(q, index, job.id) end
  webhooks.count_delivery(q, job, nil)
  redis.call('DEL', q.prefix .. 'webhook:' .. job.id)
end

return webhooks
