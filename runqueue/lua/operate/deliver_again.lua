-- use: changes job_record webhooks archive
-- Sends webhooks again, or for the first time to another address: delivered | abandoned | unknown | pending →
-- pending, due at once, as if never tried. The outcome of a try from before does not count.
-- ARGV  now_us, url ('' = the former one), asked (unique for each request: a repeated call must not resend what was
--       sent since), then ids
-- Reply per job: 1 = it is due (repeated: was), 0 = its run has not ended, or it has no webhook (and no url is
--       given), -1 = no such job, 2 = the archive alone has its result
local url, asked, reply, is_due = q.args[2], q.args[3], {}, false
local function record(i)
  local id = q.args[i]
  local job = job_record.read(q, id)
  if not job then
    reply[#reply + 1] = -1
  elseif not (ENDED[job.state] and job.run_id) or (not job.delivery and url == '') then
    reply[#reply + 1] = 0
  elseif job.archived then
    reply[#reply + 1] = 2
  elseif redis.call('HGET', job_key(q, id), 'asked') == asked then
    reply[#reply + 1] = 1
  else
    local before = webhooks.delivery_index(job)
    if before then redis.call('ZREM', q.prefix .. before, id) end
    -- A webhook for our receiver only, or for none, goes to the given address.
    if job.webhook_route ~= 'watch' then
      job.webhook_route = 'relay'
      redis.call('HSET', job_key(q, id), 'webhook_route', 'relay')
    end
    webhooks.count_delivery(q, job, 'pending')
    redis.call('HSET', job_key(q, id), 'delivery', 'pending', 'forced', int(q.now), 'asked', asked)
    redis.call('HDEL', job_key(q, id), 'tries', 'delivery_status', 'delivery_error', 'delivery_at', 'sending')
    if job.webhook_route == 'relay' then
      redis.call('HINCRBY', job_key(q, id), 'looks', 1) -- which identifies a try from before
    else
      redis.call('HDEL', job_key(q, id), 'looks')
    end
    if url ~= '' then redis.call('HSET', job_key(q, id), 'url', url) end
    redis.call('ZADD', q.prefix .. webhooks.delivery_index(job), int(q.now), id)
    archive.read_again(q, id)
    is_due = true
    reply[#reply + 1] = 1
  end
end
for i = 4, #q.args do record(i) end
changes.save(q)
if is_due then webhooks.wake(q) end
return reply
