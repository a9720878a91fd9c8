-- use: counters lanes save record jobs trail keys
-- Records the outcome of a search for unconfirmed jobs' runs that found none.
-- ARGV  now_us, searched_us (when the search began), spacing_us, then 7 a job: id, attempt, verdict
--       ('negative' | 'absent' | 'unknown'), next_after_us (when to search again), wait_us (how long after
--       the job became unconfirmed a search that finds nothing counts), note (why it is not settled, for people),
--       candidates (JSON: the runs that may be its own; '' = none)
-- Reply per job: 2 = not unconfirmed any more (ready, canceled or dead), 1 = it stays, 0 = not ours any more
-- `negative`: there is no run, and it is known that the search would have found one. `absent`: no run that may
-- be the job's was found, and it is not known whether one would have been. Both count from `wait` after the job became
-- unconfirmed, and again `spacing` later: a submission may still be on its way. `unknown` proves nothing, and resets
-- the count of `absent`.
-- Two negatives mean that there is no run. Then on_unconfirmed decides: auto -> ready again; park -> stays, for
-- people; resubmit -> ready again once the wait is over, whatever the search finds. A requested cancel forbids
-- it: no run -> canceled. Two of either verdict free the slot: no visible run takes it.
local searched, spacing = tonumber(ARGV[2]), tonumber(ARGV[3])
local NEEDED = 2
local reply, looks = {}, {}
for _, zset in ipairs({ 'reconcile', 'suspects', 'dead', 'due' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()

-- Counts a search in the fields `<name>s` and `<name>_at`; returns how many count now, and when the next one would.
local function count_search(job, name)
  local f = redis.call('HMGET', job_key(job.id), name .. 's', name .. '_at')
  local seen, at = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if seen > 0 and searched < at + spacing then return seen, at + spacing end
  redis.call('HSET', job_key(job.id), name .. 's', int(seen + 1), name .. '_at', int(searched))
  return seen + 1, searched + spacing
end

local function keep_findings(job, note, candidates)
  redis.call('HSET', job_key(job.id), 'search_note', note)
  if candidates == '' then
    redis.call('HDEL', job_key(job.id), 'candidates')
  else
    redis.call('HSET', job_key(job.id), 'candidates', candidates)
  end
end

local function record(i)
  local id, verdict, again, wait = ARGV[i], ARGV[i + 2], NOW + tonumber(ARGV[i + 3]), tonumber(ARGV[i + 4])
  local job = read_job(id)
  if not job or job.state ~= 'unconfirmed' or job.attempt ~= tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = 0
  else
    local since = tonumber(redis.call('ZSCORE', PREFIX .. 'unconfirmed', id)
      or redis.call('ZSCORE', PREFIX .. 'parked', id) or int(NOW))
    local is_mature, no_run, is_absent = NOW >= since + wait, false, false
    if verdict == 'unknown' then
      redis.call('HDEL', job_key(id), 'absents', 'absent_at')
    elseif searched >= since + wait then
      local seen, due = count_search(job, 'absent')
      again, is_absent = math.min(again, due), seen >= NEEDED
      if verdict == 'negative' then
        seen, due = count_search(job, 'negative')
        again, no_run = math.min(again, due), seen >= NEEDED
      end
    end
    if not is_mature then again = math.min(again, since + wait) end
    local leaves = no_run and (job.on_unconfirmed ~= 'park' or job.cancel)
      or (is_mature and job.on_unconfirmed == 'resubmit' and not job.cancel)
    if leaves then
      expect_lane(job.priority, job.group, lane_of(job))
      no_longer_unconfirmed(job)
      if no_run then key_limits.give_back_rate(job) end
      note_step(job, 'no_run', no_run and 'two searches found none' or 'on_unconfirmed is resubmit')
      ready_again(job, true)
      bump(totals, 'resubmitted', job.state == 'ready' and 1 or 0)
      reply[#reply + 1] = 2
    else
      if (is_absent or no_run) and job.slot ~= '0' then park(job, int(since)) end
      keep_findings(job, ARGV[i + 5], ARGV[i + 6])
      looks[#looks + 1] = int(math.max(again, NOW))
      looks[#looks + 1] = id
      reply[#reply + 1] = 1
    end
  end
end
for i = 4, #ARGV, 7 do try(record, i) end
if #looks > 0 then redis.call('ZADD', PREFIX .. 'reconcile', 'XX', unpack(looks)) end
save()
if anything_ready() then wake() end
raise_damage()
return reply
