-- use: deliveries
-- People have webhooks sent again, or for the first time to another address: delivered | gave_up | unknown | pending →
-- pending, due at once, as if never tried.
-- ARGV  now_us, url ('' = where it was to go), then ids
-- Reply per job: 1 = it is due, 0 = its run has not ended, or it has no webhook (and no url is given), -1 = no such job
local url, reply, relayed = ARGV[2], {}, false
for _, index in ipairs({ 'relays', 'watches', 'gave_up', 'unknown' }) do expect(PREFIX .. index, 'zset') end
pass_when_full()
for i = 3, #ARGV do
  local id = ARGV[i]
  local job = read_job(id)
  if not job then
    reply[#reply + 1] = -1
  elseif not (ENDED[job.state] and job.run_id) or (not job.delivery and url == '') then
    reply[#reply + 1] = 0
  else
    local before = delivery_index(job)
    if before then redis.call('ZREM', PREFIX .. before, id) end
    -- What only our receiver was to hear, or nobody, goes to the address given.
    if job.via ~= 'watch' then
      job.via = 'relay'
      redis.call('HSET', job_key(id), 'via', 'relay')
    end
    count_delivery(job, 'pending')
    redis.call('HSET', job_key(id), 'delivery', 'pending', 'forced', '1')
    redis.call('HDEL', job_key(id), 'tries', 'looks', 'told', 'told_error', 'told_at', 'sending')
    if url ~= '' then redis.call('HSET', job_key(id), 'url', url) end
    redis.call('ZADD', PREFIX .. delivery_index(job), int(NOW), id)
    relayed = true
    reply[#reply + 1] = 1
  end
end
save()
if relayed and redis.call('EXISTS', PREFIX .. 'wake:webhooks') == 0 then
  redis.call('LPUSH', PREFIX .. 'wake:webhooks', '1')
  redis.call('EXPIRE', PREFIX .. 'wake:webhooks', 60)
end
return reply
