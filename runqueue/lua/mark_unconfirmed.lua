-- Nobody knows whether a run exists: submitting → unconfirmed. The job keeps its slot.
-- ARGV  now_us, then 3 a job: id, attempt, reason
-- Reply per job: 1 = unconfirmed, 0 = not ours any more (another state or attempt)
local reply = {}
pass_when_full()
for i = 2, #ARGV, 3 do
  local job = read_job(ARGV[i])
  if job and job.state == 'submitting' and job.attempt == tonumber(ARGV[i + 1]) then
    remove_later('claims:' .. (job.process or ''), job.id)
    count_state(job, 'unconfirmed')
    redis.call('HSET', job_key(job.id), 'state', 'unconfirmed', 'reason', ARGV[i + 2])
    redis.call('HDEL', job_key(job.id), 'process')
    redis.call('ZADD', PREFIX .. 'unconfirmed', int(NOW), job.id)
    reply[#reply + 1] = 1
  else
    reply[#reply + 1] = 0
  end
end
save()
return reply
