-- use: counters
-- The indexes of jobs whose webhook is `pending`, `gave_up` or `unknown`; a delivered one is in none.
-- `via` says how the webhook travels: relay (to our receiver, which sends it on), watch (to the user, by Skyvern;
-- whether it arrives is watched), push (to our receiver only).
local function delivery_index(job)
  if job.delivery == 'pending' then return job.via == 'relay' and 'relays' or 'watches' end
  return job.delivery ~= 'delivered' and job.delivery or nil
end

-- Whether the request has a `webhook_url`. It is in the envelope, the first line of the stored body; a quote within a
-- value is escaped.
local function has_webhook_url(body)
  local at = string.find(body, ',"webhook_url":"', 1, true)
  return at and at < (string.find(body, '\n', 1, true) or 0)
end

local function expect_deliveries()
  for _, index in ipairs({ 'relays', 'watches', 'gave_up', 'unknown' }) do expect(PREFIX .. index, 'zset') end
  expect(PREFIX .. 'wake:webhooks', 'list')
end

-- Signals that a webhook may be relayed now. One element at most, as in `wake`.
local function wake_for_webhooks()
  if redis.call('EXISTS', PREFIX .. 'wake:webhooks') == 1 then return end
  redis.call('LPUSH', PREFIX .. 'wake:webhooks', '1')
  redis.call('EXPIRE', PREFIX .. 'wake:webhooks', 60)
end

-- True for a job whose webhook Skyvern sends to our receiver.
local function comes_to_us(job) return job.via == 'relay' or job.via == 'push' end

local function count_delivery(job, delivery)
  if job.delivery then bump(totals, 'delivery:' .. job.delivery, -1) end
  if delivery then bump(totals, 'delivery:' .. delivery, 1) end
  job.delivery = delivery
end

-- The webhook of a run that the job does not have any more is not delivered.
local function drop_delivery(job)
  if not job.delivery then return end
  local index = delivery_index(job)
  if index then remove_later(index, job.id) end
  count_delivery(job, nil)
  redis.call('DEL', PREFIX .. 'webhook:' .. job.id)
end
