-- use: save record webhooks
-- People have webhooks sent again, or for the first time to another address: delivered | gave_up | unknown | pending →
-- pending, due at once, as if never tried. A try that is under way for what was asked before says nothing.
-- ARGV  now_us, url ('' = where it was to go), asked (a word of its own for each time that people ask: said again, it
--       must not have sent again what has been sent since), then ids
-- Reply per job: 1 = it is due (or was, said again), 0 = its run has not ended, or it has no webhook (and no url is
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
    -- What only our receiver was to hear, or nobody, goes to the address given.
    if job.via ~= 'watch' then
      job.via = 'relay'
      redis.call('HSET', job_key(id), 'via', 'relay')
    end
    count_delivery(job, 'pending')
    redis.call('HSET', job_key(id), 'delivery', 'pending', 'forced', int(NOW), 'asked', asked)
    redis.call('HDEL', job_key(id), 'tries', 'told', 'told_error', 'told_at', 'sending')
    if job.via == 'relay' then
      redis.call('HINCRBY', job_key(id), 'looks', 1) -- which tells a try of before
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
