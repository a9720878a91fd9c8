-- use: counters save record jobs own_strays trail losses
-- Redis may have lost the claims of these jobs, and orphan runs may be theirs: ready | scheduled → unconfirmed, under
-- the next attempt, so that their runs are searched as after any lost answer. They take no slot: most of them have no
-- run. A running job that may run again may have a further run: it is searched before another one is made
-- (retry_run.lua). So is the run of a job of an open upload, once the job is claimed (claim.lua).
-- ARGV  now_us, recover_from_us (since when they may have been claimed), recover_since_us (both as reconcile_claim
--       returned them), marked (0 | 1: whether submissions carry markers), known (1 = no run is seen that may be
--       theirs: not jobs enqueued since the change was noticed), then the ids
-- Reply per job: 1 = unconfirmed, 2 = its run is searched later, 0 = it waits for no claim any more, its run is known
--       as an orphan (and its own, see own_strays.lua), or its time was still to come; {} = that recovery is over
local reply = {}
local f = redis.call('HMGET', META, 'recover_from', 'recover_since', 'recover_date')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return reply end
local from, since = tonumber(ARGV[2]), tonumber(ARGV[3])
local lost = ARGV[2] .. ' ' .. ARGV[4] .. ' ' .. (f[3] or '')
expect(PREFIX .. 'parked', 'zset')
expect(PREFIX .. 'unconfirmed', 'zset')
expect(PREFIX .. 'reconcile', 'zset')
expect(PREFIX .. 'due', 'zset')
pass_when_full()
local known = ARGV[5] == '1'
local function record(i)
  local job, code = read_job(ARGV[i]), 0
  if job and known and tonumber(redis.call('HGET', job_key(job.id), 'created') or 0) > since then job = nil end
  if job and own_stray(job.id, job.attempt) then job = nil end
  local waits = job and (job.state == 'ready' or (job.state == 'scheduled' and was_due_then(job.id, from, since)))
  if waits and is_accepted(job.batch) then
    if job.state == 'scheduled' then remove_later('due', job.id) end
    look_for_lost(job, lost)
    note_step(job, 'unconfirmed', LOST_CLAIM)
    code = 1
  elseif waits or (job and job.state == 'running') then
    redis.call('HSET', job_key(job.id), 'lost_claim', lost)
    code = 2
  end
  reply[#reply + 1] = code
end
for i = 6, #ARGV do try(record, i) end
save()
raise_damage()
return reply
