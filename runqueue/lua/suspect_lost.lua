-- use: trail
-- Redis may have lost the claims of these jobs, and runs that no job owns may be theirs: ready | scheduled →
-- unconfirmed, under the next attempt, so that they are looked for as after any lost answer.
-- ARGV  now_us, claimed_us (since when they may have been claimed), marked (0 | 1: whether submissions carry
--       markers), then the ids
-- Reply per job: 1 = unconfirmed, 0 = it waits for no claim any more
local reply = {}
expect(PREFIX .. 'unconfirmed', 'zset')
expect(PREFIX .. 'reconcile', 'zset')
expect(PREFIX .. 'due', 'zset')
pass_when_full()
local REASON = 'Redis may have lost its claim: a run that no job owns may be its own'
for i = 4, #ARGV do
  local job = read_job(ARGV[i])
  local waits = job and (job.state == 'ready' or job.state == 'scheduled')
  if waits then
    if job.state == 'scheduled' then remove_later('due', job.id) end
    to_unconfirmed(job, REASON)
    redis.call('HSET', job_key(job.id), 'attempt', int(job.attempt + 1), 'claimed', ARGV[2])
    redis.call('HDEL', job_key(job.id), 'run_at')
    if ARGV[3] ~= '1' then redis.call('HSET', job_key(job.id), 'unmarked', '1') end
    note_step(job, 'unconfirmed', REASON)
  end
  reply[#reply + 1] = waits and 1 or 0
end
save()
return reply
