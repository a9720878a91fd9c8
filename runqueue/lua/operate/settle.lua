-- use: lanes changes job_record jobs history key_limits
-- A person decides on unconfirmed jobs: → ready (there is no run) or dead (the search ends).
-- ARGV  now_us, 'resubmit' | 'fail', reason (shown on the dead ones), then 2 a job: id, attempt (whose answer
--       was lost: repeated later, it must not decide on another one)
-- Reply per job: 1 = done, 0 = not unconfirmed, or another attempt, -1 = no such job, 2 = a cancel was
--       requested: not resubmitted
local what, reason, reply = q.args[2], q.args[3], {}
local function record(i)
  local job = job_record.read(q, q.args[i])
  local code = 1
  if not job then
    code = -1
  elseif job.state ~= 'unconfirmed' or job.attempt ~= tonumber(q.args[i + 1]) then
    code = 0
  elseif what == 'resubmit' and job.cancel then
    code = 2
  else
    jobs.no_longer_unconfirmed(q, job)
    if what == 'resubmit' then
      key_limits.give_back_rate(q, job)
      history.add(q, job, 'resubmitted', 'a person said that it has no run')
      if job.deaths > 0 then redis.call('HDEL', job_key(q, job.id), 'deaths') end
      job.deaths, job.upload_abandoned = 0, nil
      jobs.ready_again(q, job, true)
    else
      jobs.end_without_run(q, job, reason)
    end
  end
  reply[#reply + 1] = code
end
for i = 4, #q.args, 2 do record(i) end
changes.save(q)
if lanes.anything_ready(q) then lanes.wake(q) end
return reply
