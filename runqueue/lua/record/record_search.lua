-- use: counters lanes changes job_record jobs history key_limits
-- Records the outcome of a search for unconfirmed jobs' runs that found none.
-- ARGV  now_us, searched_us (when the search began), spacing_us, then 7 a job: id, attempt, verdict
--       ('not_found' | 'not_seen' | 'unknown'), next_after_us (when to search again), wait_us (how long after
--       the job became unconfirmed a search that finds nothing counts), message (why it is not settled, for people),
--       candidates (JSON: the runs that may be its own; '' = none)
-- Reply per job: 2 = not unconfirmed any more (ready, canceled or dead), 1 = it stays, 0 = not ours any more
-- `not_found`: there is no run, and it is known that the search would have found one. `not_seen`: no run that may
-- be the job's was found, and it is not known whether one would have been. Both count from `wait` after the job became
-- unconfirmed, and again `spacing` later: a submission may still be on its way. `unknown` proves nothing, and resets
-- the count of `not_seen`.
-- Two of `not_found` mean that there is no run. Then on_unconfirmed decides: auto -> ready again; hold -> stays, for
-- people; resubmit -> ready again once the wait is over, whatever the search finds. A requested cancel forbids
-- it: no run -> canceled. Two of either verdict free the slot: no visible run takes it.
local searched, spacing = tonumber(q.args[2]), tonumber(q.args[3])
local NEEDED = 2
local reply, looks = {}, {}

-- Counts a search in the fields `<name>s` and `<name>_at`; returns how many count now, and when the next one would.
local function count_search(job, name)
  local f = redis.call('HMGET', job_key(q, job.id), name .. '_count', name .. '_at')
  local seen, at = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if seen > 0 and searched < at + spacing then return seen, at + spacing end
  redis.call('HSET', job_key(q, job.id), name .. '_count', int(seen + 1), name .. '_at', int(searched))
  return seen + 1, searched + spacing
end

local function keep_findings(job, message, candidates)
  redis.call('HSET', job_key(q, job.id), 'search_message', message)
  if candidates == '' then
    redis.call('HDEL', job_key(q, job.id), 'candidates')
  else
    redis.call('HSET', job_key(q, job.id), 'candidates', candidates)
  end
end

local function record(i)
  local id, verdict, again, wait = q.args[i], q.args[i + 2], q.now + tonumber(q.args[i + 3]), tonumber(q.args[i + 4])
  local job = job_record.read(q, id)
  if not job or job.state ~= 'unconfirmed' or job.attempt ~= tonumber(q.args[i + 1]) then
    reply[#reply + 1] = 0
  else
    local since = tonumber(redis.call('ZSCORE', q.prefix .. 'unconfirmed', id)
      or redis.call('ZSCORE', q.prefix .. 'unconfirmed_no_slot', id) or int(q.now))
    local is_mature, no_run, not_seen = q.now >= since + wait, false, false
    if verdict == 'unknown' then
      redis.call('HDEL', job_key(q, id), 'not_seen_count', 'not_seen_at')
    elseif searched >= since + wait then
      local seen, due = count_search(job, 'not_seen')
      again, not_seen = math.min(again, due), seen >= NEEDED
      if verdict == 'not_found' then
        seen, due = count_search(job, 'not_found')
        again, no_run = math.min(again, due), seen >= NEEDED
      end
    end
    if not is_mature then again = math.min(again, since + wait) end
    local leaves = no_run and (job.on_unconfirmed ~= 'hold' or job.cancel)
      or (is_mature and job.on_unconfirmed == 'resubmit' and not job.cancel)
    if leaves then
      jobs.no_longer_unconfirmed(q, job)
      if no_run then key_limits.give_back_rate(q, job) end
      history.add(q, job, 'no_run', no_run and 'two searches found none' or 'on_unconfirmed is resubmit')
      jobs.ready_again(q, job, true)
      counters.bump(q.totals, 'resubmitted', job.state == 'ready' and 1 or 0)
      reply[#reply + 1] = 2
    else
      if (not_seen or no_run) and job.slot ~= '0' then jobs.give_slot_back(q, job, int(since)) end
      keep_findings(job, q.args[i + 5], q.args[i + 6])
      looks[#looks + 1] = int(math.max(again, q.now))
      looks[#looks + 1] = id
      reply[#reply + 1] = 1
    end
  end
end
for i = 4, #q.args, 7 do record(i) end
if #looks > 0 then redis.call('ZADD', q.prefix .. 'reconcile', 'XX', unpack(looks)) end
changes.save(q)
if lanes.anything_ready(q) then lanes.wake(q) end
return reply
