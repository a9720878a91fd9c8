-- use: jobs own_strays runs
-- What is to be done before a job that waits is ended because it is not wanted any more (`why`: asked, deadline): it may
-- have a run all the same, of a claim that Redis lost. One that is known as a stray is taken on, and canceled like any
-- other; one that may be is looked for. False: it has none.
local function may_have_run(job, why)
  local run_id, attempt = own_stray(job.id, job.attempt)
  if not run_id then return look_before_end(job, why) end
  redis.call('ZADD', PREFIX .. 'poll', int(NOW), job.id)
  if why == 'asked' then
    redis.call('HSET', job_key(job.id), 'cancel', why)
    job.cancel = why -- past its deadline it is canceled by its poll, unless it is over
  end
  adopt(job, attempt, run_id, 'created')
  return true
end
