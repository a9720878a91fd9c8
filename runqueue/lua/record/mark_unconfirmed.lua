-- use: counters holds job_record jobs own_orphans history losses
-- A run may exist: submitting → unconfirmed. The job keeps its slot and its run is searched.
-- A waiting job at a lower attempt had its claim lost with another Redis, as the process of the claim reports. Its run
-- is searched under that attempt (see mark_maybe_claimed.lua).
-- ARGV  now_us, marked (0 | 1: whether submissions carry markers), then 4 a job: id, attempt, reason, trouble (1 = the
--       server or the way to it failed)
-- Reply per job: 1 = unconfirmed, 2 = its claim was lost, and its run is searched, 0 = not ours any more (another state
--       or attempt), or its run is known as an orphan run
-- Ten failures in a row, with no acceptance between them, open the circuit breaker that all workers share.
local BREAKER, FIRST_OPEN, LONGEST_OPEN = 10, 5000000, 60000000
local reply, troubles, words = {}, 0, ''

-- A claim that is unknown for its attempt is no older than the recovered time; after the recovery, than the longest
-- outage after which a worker still reports.
local LONGEST_OUTAGE = 7200000000
local function look_for(job, attempt)
  local f = redis.call('HMGET', q.meta, 'recover_from', 'recover_date')
  local from = f[1] or int(math.max(0, q.now - LONGEST_OUTAGE))
  local lost = from .. ' ' .. q.args[2] .. ' ' .. (f[1] and f[2] or '')
  if job.state == 'running' or not losses.is_accepted(q, job.batch) then
    redis.call('HSET', job_key(q, job.id), 'maybe_claimed_at', lost)
  else
    if job.state == 'scheduled' then counters.remove_later(q, 'due', job.id) end
    job.attempt = attempt - 1
    jobs.look_for_lost(q, job, lost)
    history.add(q, job, 'unconfirmed', jobs.LOST_CLAIM)
  end
  counters.bump(q.totals, 'submissions:unknown', 1)
end

local WAITS = { ready = true, scheduled = true, running = true }
local function record(i)
  local job, attempt = job_record.read(q, q.args[i]), tonumber(q.args[i + 1])
  if job and WAITS[job.state] and job.attempt < attempt and not own_orphans.find(q, job.id, attempt - 1) then
    look_for(job, attempt)
    reply[#reply + 1] = 2
  elseif job and job.state == 'submitting' and job.attempt == attempt then
    jobs.to_unconfirmed(q, job, q.args[i + 2])
    counters.remove_later(q, 'claims:' .. (job.process or ''), job.id)
    history.add(q, job, 'unconfirmed', q.args[i + 2])
    if q.args[i + 3] == '1' then troubles, words = troubles + 1, q.args[i + 2] end
    counters.bump(q.totals, 'submissions:unknown', 1)
    reply[#reply + 1] = 1
  else
    counters.bump(q.totals, 'fenced:mark_unconfirmed', 1)
    reply[#reply + 1] = 0
  end
end
for i = 3, #q.args, 4 do record(i) end
holds.count_trouble(q, 'troubles', troubles, BREAKER, FIRST_OPEN, LONGEST_OPEN, words)
return reply
