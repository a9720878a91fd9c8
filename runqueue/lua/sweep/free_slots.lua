-- use: job_record jobs run_limits
-- Frees the slots of unconfirmed jobs that are older than their runs can be: any run is over. The jobs stay
-- unconfirmed, for a late answer or an operator. A job's own limit counts if it is longer than the account's: an
-- unknown run is not canceled.
-- ARGV  now_us, max_run_us, max_workflow_us (that of workflow runs), limit
-- Reply: how many gave their slot back (the limit = call again)
local MOST_READ = 2000 -- of those that may take longer, and come before others
if clock_is_stale(q) then return 0 end
local max_run, max_workflow, limit, freed_slots = tonumber(q.args[2]), tonumber(q.args[3]), tonumber(q.args[4]), 0
local found = redis.call('ZRANGEBYSCORE', q.prefix .. 'unconfirmed', '-inf',
  int(q.now - math.min(max_run, max_workflow)),
  'WITHSCORES', 'LIMIT', 0, MOST_READ)
local function free(id, since)
  local job = job_record.read(q, id)
  local longest = run_limits.of(q, id, nil, tonumber(since), max_run, max_workflow)
  if tonumber(since) + math.max(longest, job and job.max_run or 0) <= q.now then
    if job and job.state == 'unconfirmed' then
      jobs.give_slot_back(q, job, since)
    else
      redis.call('ZREM', q.prefix .. 'unconfirmed', id)
    end
    freed_slots = freed_slots + 1
  end
end
for i = 1, #found, 2 do
  if freed_slots >= limit then break end
  free(found[i], found[i + 1])
end
return freed_slots
