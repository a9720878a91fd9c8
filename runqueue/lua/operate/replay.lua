-- use: counters lanes changes job_record webhooks files jobs history
-- Submits ended jobs again: dead | failed | canceled → ready. The attempt number keeps growing, since every attempt's
-- marker is used once; the runs that max_attempts bounds are counted from 0 (the former ones: `past_runs`).
-- ARGV  now_us, then 3 a job: id, attempt, ended_us (as they were seen: repeated later, it must not submit
--       again what was submitted again and ended since)
-- Reply per job: 1 = ready again, 0 = in another state or attempt, 2 = its batch was canceled, -1 = no such job,
--       3 = an uploaded file of it served a run, or is another job's: each serves one,
--       4 = its request was dropped: it ended before it was submitted (counters.lua), 5 = the archive alone has it
-- The archive gets a job at its next end; until then it has the one before.
local AGAIN = { dead = true, failed = true, canceled = true }
local FORGET = { 'reason', 'ended', 'cancel', 'cancel_since', 'deadline', 'runs', 'deaths', 'run_id',
  'run_status', 'started', 'slot', 'webhook_route', 'delivery', 'tries', 'delivery_status', 'delivery_error',
    'delivery_at', 'looks', 'signed',
  'url', 'forced', 'sending', 'asked', 'missed',
  'put_off', 'occupied', 'category' }
local reply = {}

-- True if a job's files are its own, and no run of it has used them; then it holds them.
local function has_its_files(job)
  local f = redis.call('HMGET', job_key(q, job.id), 'files', 'earlier')
  if not f[1] then return true end
  if job.run_id or f[2] or job.runs > 0 then return false end
  local names = jobs.file_names(f[1])
  if files.other_holder(q, names, job.id) then return false end
  files.hold_files(q, names, job.id)
  return true
end

local function record(i)
  local id = q.args[i]
  local job = job_record.read(q, id)
  if not job then
    reply[#reply + 1] = -1
  elseif not AGAIN[job.state] or job.attempt ~= tonumber(q.args[i + 1])
    or redis.call('HGET', job_key(q, id), 'ended') ~= q.args[i + 2] then
    reply[#reply + 1] = 0
  elseif lanes.batch_canceled(q, job.batch) then
    reply[#reply + 1] = 2
  elseif redis.call('HEXISTS', job_key(q, id), 'body_dropped') == 1 then
    reply[#reply + 1] = 4
  elseif job.archived then
    reply[#reply + 1] = 5
  elseif not has_its_files(job) then
    reply[#reply + 1] = 3
  else
    local past = tonumber(redis.call('HGET', job_key(q, id), 'past_runs') or 0) + job.runs
    if job.batch ~= NO_BATCH then
      redis.call('SADD', q.prefix .. 'batch_lanes:' .. job.batch, job.priority .. ':' .. job.group)
    end
    history.add(q, job, 'replayed', 'it was ' .. job.state .. (job.run_id and ', its run ' .. job.run_id or ''))
    -- Its last run's entry and result are removed; its orphan runs stay.
    job_record.keep_earlier(q, job)
    webhooks.drop_delivery(q, job)
    counters.remove_later(q, 'dead', id)
    redis.call('DEL', q.prefix .. 'result:' .. id)
    redis.call('HDEL', job_key(q, id), unpack(FORGET))
    if past > 0 then redis.call('HSET', job_key(q, id), 'past_runs', int(past)) end
    if job.run_id then redis.call('HDEL', job_key(q, id), 'maybe_claimed_at') end -- its possible extra run
    counters.count_state(q, job, 'ready')
    redis.call('HSET', job_key(q, id), 'state', 'ready', 'ready_at', int(q.now))
    lanes.push(q, job.priority, job.group, lanes.of(job), { id }, false)
    counters.bump(q.totals, 'replayed', 1)
    reply[#reply + 1] = 1
  end
end
for i = 2, #q.args, 3 do record(i) end
changes.save(q)
if lanes.anything_ready(q) then lanes.wake(q) end
return reply
