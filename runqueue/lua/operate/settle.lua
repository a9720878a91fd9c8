-- use: lanes save record jobs trail keys
-- A person decides on unconfirmed jobs: → ready (there is no run) or dead (the search ends).
-- ARGV  now_us, 'resubmit' | 'fail', reason (shown on the dead ones), then 2 a job: id, attempt (whose answer
--       was lost: repeated later, it must not decide on another one)
-- Reply per job: 1 = done, 0 = not unconfirmed, or another attempt, -1 = no such job, 2 = a cancel was
--       requested: not resubmitted
local what, reason, reply = ARGV[2], ARGV[3], {}
expect(PREFIX .. 'dead', 'zset')
expect(PREFIX .. 'due', 'zset')
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  local code = 1
  if not job then
    code = -1
  elseif job.state ~= 'unconfirmed' or job.attempt ~= tonumber(ARGV[i + 1]) then
    code = 0
  elseif what == 'resubmit' and job.cancel then
    code = 2
  else
    if what == 'resubmit' then expect_lane(job.priority, job.group, lane_of(job)) end
    no_longer_unconfirmed(job)
    if what == 'resubmit' then
      key_limits.give_back_rate(job)
      note_step(job, 'resubmitted', 'a person said that it has no run')
      if job.deaths > 0 then redis.call('HDEL', job_key(job.id), 'deaths') end
      job.deaths, job.given_up = 0, nil
      ready_again(job, true)
    else
      end_without_run(job, reason)
    end
  end
  reply[#reply + 1] = code
end
for i = 4, #ARGV, 2 do try(record, i) end
save()
if anything_ready() then wake() end
raise_damage()
return reply
