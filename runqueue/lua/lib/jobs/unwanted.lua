-- use: jobs own_strays runs
-- Called before a waiting job is ended (`why`: asked, deadline): it may have a run all the same, of a claim that Redis
-- lost. A known orphan run of it is adopted, and canceled like any other; a possible one is searched. False: it has
-- none.
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
