-- use: orphans pauses long_queued
-- Records what a list of live runs showed: changed statuses, and orphan runs that are still live. A run that is paused is
-- polled at once, for its paused_url.
-- ARGV  now_us, orphan_after_us (orphan runs: no sooner poll), max_run_us, max_workflow_us (that of workflow runs),
-- then 3 a
--       run: id ('' = an orphan run), run_id, run_status
-- Reply: how many were written
local after, max_run, max_workflow, written, looks = tonumber(q.args[2]), tonumber(q.args[3]), tonumber(q.args[4]), 0,
  {}
local function see(i)
  local id, run_id = q.args[i], q.args[i + 1]
  if id ~= '' then
    local f = redis.call('HMGET', job_key(q, id), 'state', 'run_id', 'run_status', 'started', 'begun')
    if f[1] == 'running' and f[2] == run_id then
      local status = q.args[i + 2]
      if status == 'paused' then redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', int(q.now), id) end
      pauses.set_status(q, id, f[3], status)
      long_queued.note(q, id, f[3], status, f[4], f[5])
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
