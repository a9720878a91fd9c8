-- use: save record webhooks deliveries endpoints
-- Records the outcomes of webhooks that delivery_claim.lua took: pending → delivered | gave_up | unknown, or another
-- try.
-- ARGV  now_us, then 13 a webhook: id, attempt, verdict ('again' | 'delivered' | 'gave_up' | 'unknown'), was_tried (0 |
--       1: else it was only checked), status (the receiver's answer, '' none), error, wait_us (until the next try,
--       counts with 'again'), endpoint ('' none), answered (0 | 1: the endpoint did), signed ('' = as before) and
--       body (as Skyvern signed it, by its API), tries and looks (as they were when it was taken)
-- Reply per webhook: 1 = recorded, 0 = it does not wait any more, or for another attempt, or was recorded before
local PER_WEBHOOK = 13
local reply = {}
expect_deliveries()
pass_when_full()
local function record(i)
  local id, verdict, was_tried, status, words = ARGV[i], ARGV[i + 2], ARGV[i + 3] == '1', ARGV[i + 4], ARGV[i + 5]
  local endpoint, signed = endpoint_of(ARGV[i + 7]), ARGV[i + 9]
  local job, code = read_job(id), 0
  if job and job.delivery and job.attempt == tonumber(ARGV[i + 1]) then
    local f = redis.call('HMGET', job_key(id), 'tries', 'looks', 'forced')
    local is_news = tonumber(f[1] or 0) == tonumber(ARGV[i + 11]) and tonumber(f[2] or 0) == tonumber(ARGV[i + 12])
    -- Two processes sent it, since the first one's lease was over: a success counts from either, but not for a
    -- request made since.
    is_news = is_news or (verdict == 'delivered' and was_tried and job.delivery == 'pending' and not f[3])
    -- Also for one whose receipt was confirmed before this outcome: the endpoint answered.
    if is_news then
      redis.call('HINCRBY', job_key(id), was_tried and 'tries' or 'looks', 1)
      if endpoint ~= '' then
        if ARGV[i + 8] == '1' then endpoint_answered(endpoint) else endpoint_failed(endpoint) end
      end
    end
    if is_news and job.delivery == 'pending' then
      if verdict == 'again' then
        redis.call('ZADD', PREFIX .. delivery_index(job), int(NOW + tonumber(ARGV[i + 6])), id)
        redis.call('HDEL', job_key(id), 'sending', 'told', 'told_error')
        if status ~= '' then redis.call('HSET', job_key(id), 'told', status) end
        if words ~= '' then redis.call('HSET', job_key(id), 'told_error', words) end
      else
        end_delivery(id, verdict, status ~= '' and status, words)
      end
      if signed ~= '' and verdict ~= 'delivered' then
        redis.call('SET', PREFIX .. 'webhook:' .. id, ARGV[i + 10], 'PX', int(8 * DAY / 1000))
        redis.call('HSET', job_key(id), 'signed', signed)
      end
      code = 1
    end
  end
  reply[#reply + 1] = code
end
for i = 2, #ARGV, PER_WEBHOOK do try(record, i) end
save()
raise_damage()
return reply
