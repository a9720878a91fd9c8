-- use: counters save record jobs losses runs unwanted
-- Ends jobs that waited too long: scheduled | ready past the deadline → dead. A running job is polled now: if its run
-- is live, it is canceled, and the job fails with `deadline` once its end is confirmed. A job without a run id yet is
-- flagged, and its run is canceled as soon as it is known; so is a job whose claim was, or may be, lost. What was to
-- end during a recovery, canceled jobs included, ends once that is over (lib/jobs/unwanted.lua).
-- ARGV  now_us, limit.   Reply: how many were overdue (as many as the limit = call again)
local DEADLINES = PREFIX .. 'deadlines'
expect(DEADLINES, 'zset')
expect(PREFIX .. 'dead', 'zset')
for _, zset in ipairs({ 'poll', 'due', 'stray_looks', 'unwanted' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()
if clock_is_stale() then return 0 end
local ids = redis.call('ZRANGEBYSCORE', DEADLINES, '-inf', int(NOW), 'LIMIT', 0, ARGV[2])
local put_off, free = {}, tonumber(ARGV[2]) - #ids
if free > 0 and not is_recovering() then put_off = redis.call('ZRANGE', UNWANTED, 0, free - 1) end
local function pass(id, was_put_off)
  local job = read_job(id)
  if not job then return end
  if was_put_off and not job.cancel and (tonumber(job.deadline) or NOW + 1) > NOW then return end -- it is wanted again
  if job.state == 'ready' or job.state == 'scheduled' then
    if may_have_run(job, job.cancel or 'deadline') then return end
    remove_later('due', id)
    if job.cancel == 'asked' then
      cancel_waiting(job)
    else
      end_without_run(job, 'deadline: it passed while the job was queued')
    end
  elseif LIVE[job.state] then
    if job.state == 'running' then
      redis.call('ZADD', PREFIX .. 'poll', 'XX', int(NOW), id)
    else
      redis.call('HSETNX', job_key(id), 'cancel', 'deadline')
    end
  end
end
for _, id in ipairs(ids) do
  remove_later('deadlines', id)
  if not try(pass, id) then set_aside('job ' .. id) end
end
for _, id in ipairs(put_off) do
  remove_later('unwanted', id)
  if not try(pass, id, true) then set_aside('job ' .. id) end
end
try(note_adopted)
save()
raise_damage()
return #ids + #put_off
