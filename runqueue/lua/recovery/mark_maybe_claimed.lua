-- use: counters job_record jobs own_orphans history losses
-- Redis may have lost the claims of these jobs, and orphan runs may be theirs: ready | scheduled → unconfirmed, under
-- the next attempt, so that their runs are searched as after any lost answer. They take no slot: most of them have no
-- run. A running job that may run again may have an extra run: it is searched before another one is made
-- (retry_run.lua). So is the run of a job of an open upload, once the job is claimed (claim.lua).
-- ARGV  now_us, recover_from_us (since when they may have been claimed), recover_since_us (both as reconcile_claim
--       returned them), marked (0 | 1: whether submissions carry markers), known (1 = no run is seen that may be
--       theirs: not jobs enqueued since the change was noticed), then the ids
-- Reply per job: 1 = unconfirmed, 2 = its run is searched later, 0 = it waits for no claim any more, its run is known
--       as an orphan (and its own, see own_orphans.lua), or its time was still to come; {} = that recovery is over
local reply = {}
local f = redis.call('HMGET', q.meta, 'recover_from', 'recover_since', 'recover_date')
if f[1] ~= q.args[2] or f[2] ~= q.args[3] then return reply end
local from, since = tonumber(q.args[2]), tonumber(q.args[3])
local lost = q.args[2] .. ' ' .. q.args[4] .. ' ' .. (f[3] or '')
local known = q.args[5] == '1'
local function record(i)
  local job, code = job_record.read(q, q.args[i]), 0
  if job and known and tonumber(redis.call('HGET', job_key(q, job.id), 'created') or 0) > since then job = nil end
  if job and own_orphans.find(q, job.id, job.attempt) then job = nil end
  local waits = job and (job.state == 'ready'
    or (job.state == 'scheduled' and losses.was_due_then(q, job.id, from, since)))
  if waits and losses.is_accepted(q, job.batch) then
    if job.state == 'scheduled' then counters.remove_later(q, 'due', job.id) end
    jobs.look_for_lost(q, job, lost)
    history.add(q, job, 'unconfirmed', jobs.LOST_CLAIM)
    code = 1
  elseif waits or (job and job.state == 'running') then
    redis.call('HSET', job_key(q, job.id), 'maybe_claimed_at', lost)
    code = 2
  end
  reply[#reply + 1] = code
end
for i = 6, #q.args do record(i) end
return reply
