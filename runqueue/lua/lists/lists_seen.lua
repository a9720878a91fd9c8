-- use: orphans long_queued
-- Records what a list of live runs showed: changed statuses, and orphan runs that are still live.
-- ARGV  now_us, orphan_after_us (orphan runs: no sooner poll), max_run_us, max_workflow_us (that of workflow runs),
-- then 3 a
--       run: id ('' = an orphan run), run_id, run_status
-- Reply: how many were written
local after, max_run, max_workflow, written, looks = tonumber(q.args[2]), tonumber(q.args[3]), tonumber(q.args[4]), 0,
  {}
local function see(i)
  local id, run_id = q.args[i], q.args[i + 1]
  if id ~= '' then
    local f = redis.call('HMGET', job_key(q, id), 'state', 'run_id', 'started', 'begun')
    if f[1] == 'running' and f[2] == run_id then
      redis.call('HSET', job_key(q, id), 'run_status', q.args[i + 2])
      long_queued.note(q, id, q.args[i + 2], f[3], f[4])
      written = written + 1
    end
  else
    local job_id, since = string.match(redis.call('HGET', q.prefix .. 'orphans', run_id) or '', '^(%S+) %d+ (%d+)')
    if since and redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id) then
      -- Its last poll comes when no run is that old: poll_claim.lua frees its slot then.
      local last = orphans.ends_at(q, run_id, job_id, tonumber(since), max_run, max_workflow)
      looks[#looks + 1] = int(math.min(q.now + after, last))
      looks[#looks + 1] = run_id
      written = written + 1
    end
  end
end
for i = 5, #q.args, 3 do see(i) end
in_parts('ZADD', q.prefix .. 'orphan_polls', looks)
return written
