-- Ends what waited too long: scheduled | ready past its deadline → dead; a live run is flagged to be
-- canceled and fails with `deadline` once its end is confirmed.
-- ARGV  now_us, limit.   Reply: how many were overdue (as many as the limit = ask again)
local DEADLINES = PREFIX .. 'deadlines'
expect(DEADLINES, 'zset')
pass_when_full()
local ids = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(NOW), 'LIMIT', 0, ARGV[2])
for _, id in ipairs(ids) do
  redis.call('ZREM', DEADLINES, id)
  local job = read_job(id)
  if job and (job.state == 'ready' or job.state == 'scheduled') then
    remove_later('due', id)
    end_job(job, 'dead', { 'reason', 'deadline: it passed while the job was queued' })
  elseif job and LIVE[job.state] then
    redis.call('HSETNX', job_key(id), 'cancel', 'deadline')
    if job.state == 'running' then redis.call('ZADD', PREFIX .. 'cancels', 'NX', int(NOW), id) end
  end
end
save()
return #ids
