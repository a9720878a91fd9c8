-- use: counters job_record jobs
-- Removes dead jobs for good: the record, its body, its idempotency key; and quarantined jobs (changes.lua), whatever
-- their state.
-- ARGV  now_us, then ids.   Reply per id: 1 = removed, 0 = not dead, -1 = no such job

-- What can be read of a quarantined job's record decides what its removal frees.
local function drop_quarantined(id)
  local f = redis.pcall('HMGET', job_key(q, id), 'state', 'priority', 'group', 'batch', 'slot', 'keys')
  if f[1] then
    local job = { id = id, priority = f[2] or '2', group = f[3] or 'default', batch = f[4] or NO_BATCH, keys = f[6] }
    counters.bump(q.totals, f[1] .. ':' .. job.priority, -1)
    if f[1] == 'ready' then counters.bump(q.group_load, job.group, -1) end
    if LIVE[f[1]] and f[5] ~= '0' then counters.free_slot(q, job) end
  end
  counters.remove_later(q, 'dead', id)
  redis.call('DEL', job_key(q, id), q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id)
end

local function discard(id)
  if redis.call('ZREM', q.prefix .. 'quarantined', id) == 1 then
    drop_quarantined(id)
    return 1
  end
  local job = job_record.read(q, id)
  if not job then return -1 end
  if job.state ~= 'dead' then return 0 end
  counters.remove_later(q, 'dead', job.id)
  jobs.remove_record(q, job)
  return 1
end

local reply = {}
for i = 2, #q.args do reply[i - 1] = discard(q.args[i]) end
return reply
