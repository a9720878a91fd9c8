-- use: save record webhooks
-- Sends webhooks again, or for the first time to another address: delivered | gave_up | unknown | pending →
-- pending, due at once, as if never tried. The outcome of a try from before does not count.
-- ARGV  now_us, url ('' = the former one), asked (unique for each request: a repeated call must not resend what was
--       sent since), then ids
-- Reply per job: 1 = it is due (repeated: was), 0 = its run has not ended, or it has no webhook (and no url is
--       given), -1 = no such job
local url, asked, reply, is_due = ARGV[2], ARGV[3], {}, false
expect_deliveries()
pass_when_full()
local function record(i)
  local id = ARGV[i]
  local job = read_job(id)
  if not job then
    reply[#reply + 1] = -1
  elseif not (ENDED[job.state] and job.run_id) or (not job.delivery and url == '') then
    reply[#reply + 1] = 0
  elseif redis.call('HGET', job_key(id), 'asked') == asked then
    reply[#reply + 1] = 1
  else
    local before = delivery_index(job)
    if before then redis.call('ZREM', PREFIX .. before, id) end
    -- A webhook for our receiver only, or for none, goes to the given address.
    if job.via ~= 'watch' then
      job.via = 'relay'
      redis.call('HSET', job_key(id), 'via', 'relay')
    end
    count_delivery(job, 'pending')
    redis.call('HSET', job_key(id), 'delivery', 'pending', 'forced', int(NOW), 'asked', asked)
    redis.call('HDEL', job_key(id), 'tries', 'told', 'told_error', 'told_at', 'sending')
    if job.via == 'relay' then
      redis.call('HINCRBY', job_key(id), 'looks', 1) -- which identifies a try from before
    else
      redis.call('HDEL', job_key(id), 'looks')
    end
    if url ~= '' then redis.call('HSET', job_key(id), 'url', url) end
    redis.call('ZADD', PREFIX .. delivery_index(job), int(NOW), id)
    is_due = true
    reply[#reply + 1] = 1
  end
end
for i = 4, #ARGV do try(record, i) end
save()
if is_due then wake_for_webhooks() end
raise_damage()
return reply
