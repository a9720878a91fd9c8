-- use: job_record webhooks deliveries endpoints
-- Records the outcomes of webhooks that delivery_claim.lua took: pending → delivered | abandoned | unknown, or another
-- try.
-- ARGV  now_us, then 13 a webhook: id, attempt, verdict ('again' | 'delivered' | 'abandoned' | 'unknown'), was_tried (0
-- |
--       1: else it was only checked), status (the receiver's answer, '' none), error, wait_us (until the next try,
--       counts with 'again'), endpoint ('' none), answered (0 | 1: the endpoint did), signed ('' = as before) and
--       body (as Skyvern signed it, by its API), tries and looks (as they were when it was taken)
-- Reply per webhook: 1 = recorded, 0 = it does not wait any more, or for another attempt, or was recorded before
local PER_WEBHOOK = 13
local reply = {}
local function record(i)
  local id, verdict, was_tried, status, words = q.args[i], q.args[i + 2], q.args[i + 3] == '1', q.args[i + 4],
    q.args[i + 5]
  local endpoint, signed = endpoints.of(q.args[i + 7]), q.args[i + 9]
  local job, code = job_record.read(q, id), 0
  if job and job.delivery and job.attempt == tonumber(q.args[i + 1]) then
    local f = redis.call('HMGET', job_key(q, id), 'tries', 'looks', 'forced')
    local is_news = tonumber(f[1] or 0) == tonumber(q.args[i + 11]) and tonumber(f[2] or 0) == tonumber(q.args[i + 12])
    -- Two processes sent it, since the first one's lease was over: a success counts from either, but not for a
    -- request made since.
    is_news = is_news or (verdict == 'delivered' and was_tried and job.delivery == 'pending' and not f[3])
    -- Also for one whose receipt was confirmed before this outcome: the endpoint answered.
    if is_news then
      redis.call('HINCRBY', job_key(q, id), was_tried and 'tries' or 'looks', 1)
      if endpoint ~= '' then
        if q.args[i + 8] == '1' then endpoints.answered(q, endpoint) else endpoints.failed(q, endpoint) end
      end
    end
    if is_news and job.delivery == 'pending' then
      if verdict == 'again' then
        redis.call('ZADD', q.prefix .. webhooks.delivery_index(job), int(q.now + tonumber(q.args[i + 6])), id)
        redis.call('HDEL', job_key(q, id), 'sending', 'delivery_status', 'delivery_error')
        if status ~= '' then redis.call('HSET', job_key(q, id), 'delivery_status', status) end
        if words ~= '' then redis.call('HSET', job_key(q, id), 'delivery_error', words) end
      else
        deliveries.end_delivery(q, id, verdict, status ~= '' and status, words)
      end
      if signed ~= '' and verdict ~= 'delivered' then
        webhooks.store_signed(q, id, signed, q.args[i + 10])
      end
      code = 1
    end
  end
  reply[#reply + 1] = code
end
for i = 2, #q.args, PER_WEBHOOK do record(i) end
return reply
