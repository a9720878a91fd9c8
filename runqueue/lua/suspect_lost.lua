-- use: trail
-- Redis may have lost the claims of these jobs, and runs that no job owns may be theirs: ready | scheduled →
-- unconfirmed, under the next attempt, so that they are looked for as after any lost answer. They take no slot: of
-- most of them there is no run.
-- ARGV  now_us, recover_from_us (since when they may have been claimed), recover_since_us (both as reconcile_claim said
--       them), marked (0 | 1: whether submissions carry markers), then the ids
-- Reply per job: 1 = unconfirmed, 0 = it waits for no claim any more; {} = that recovery is over
local reply = {}
local f = redis.call('HMGET', META, 'recover_from', 'recover_since')
if f[1] ~= ARGV[2] or f[2] ~= ARGV[3] then return reply end
expect(PREFIX .. 'parked', 'zset')
expect(PREFIX .. 'unconfirmed', 'zset')
expect(PREFIX .. 'reconcile', 'zset')
expect(PREFIX .. 'due', 'zset')
pass_when_full()
local REASON = 'Redis may have lost its claim: a run that no job owns may be its own'
for i = 5, #ARGV do
  local job = read_job(ARGV[i])
  local waits = job and (job.state == 'ready' or job.state == 'scheduled')
  if waits then
    if job.state == 'scheduled' then remove_later('due', job.id) end
    to_unconfirmed(job, REASON)
    park(job, int(NOW))
    redis.call('HSET', job_key(job.id), 'attempt', int(job.attempt + 1), 'claimed', ARGV[2])
    redis.call('HDEL', job_key(job.id), 'run_at')
    if ARGV[4] ~= '1' then redis.call('HSET', job_key(job.id), 'unmarked', '1') end
    note_step(job, 'unconfirmed', REASON)
  end
  reply[#reply + 1] = waits and 1 or 0
end
save()
return reply
