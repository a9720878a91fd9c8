-- use: counters lanes batches job_record webhooks orphans
-- The transitions of a job: its ends, unconfirmed, back to its lane, and its removal.
local jobs = {}

-- The names in the `files` of a job's record, at most 50.
function jobs.file_names(files)
  local names = {}
  for file in string.gmatch(files or '', '%S+') do names[#names + 1] = file end
  return names
end

-- A removed job releases the uploaded files that it holds (see files.lua).
function jobs.drop_files(q, id, files)
  local names, own = jobs.file_names(files), {}
  if #names == 0 then return end
  for i, owner in ipairs(redis.call('HMGET', q.prefix .. 'files', unpack(names))) do
    if owner == id then own[#own + 1] = names[i] end
  end
  if #own > 0 then redis.call('HDEL', q.prefix .. 'files', unpack(own)) end
end

-- The owner of a run is retained for as long as the records of jobs that ended today, so that no search takes it for
-- an equal job's. '~' means that it has no owner now.
function jobs.keep_owner(q, run_id, job_id)
  redis.call('HSET', job_record.runs_key(q, run_id), run_id, '~' .. job_id)
  q.ended_ids[#q.ended_ids + 1] = 'orphan ' .. run_id
end

-- The highest attempt known of a job: by its record, or by its orphan runs, whose claims Redis may have lost.
local function last_attempt(q, job)
  local last = job.attempt
  local runs = orphans.are_any(q) and redis.call('HGET', q.prefix .. 'orphan_jobs', job.id)
  for run_id in string.gmatch(runs or '', '%S+') do
    local attempt = string.match(redis.call('HGET', q.prefix .. 'orphans', run_id) or '', '^%S+ (%d+)')
    last = math.max(last, tonumber(attempt or 0))
  end
  return last
end

-- Removes a job that ended RETENTION ago (`is_old`), that its account retains for less, or that is discarded: record,
-- body, result, entries. If the key of one that is not old is used for another request, that counts on from its
-- attempts: no run of the one has a marker of the other.
-- One attempt is left out, whose claim Redis may have lost, and whose run may come later.
-- The same request counts from where it began before, and may have its orphan run again (own_orphans.lua); after an end
-- with a run it counts on like another one.
function jobs.remove_record(q, job, is_old)
  local f = redis.call('HMGET', job_key(q, job.id), 'earlier', 'files', 'quota_owner')
  local earlier = f[1] or ''
  job.quota_owner = f[3]
  counters.discharge(q, job)
  jobs.drop_files(q, job.id, f[2])
  webhooks.drop_delivery(q, job)
  local last = is_old and 0 or last_attempt(q, job)
  if last > 0 then
    local key = q.prefix .. 'attempts:' .. job.id
    local request = (not ENDED[job.state] or job.state == 'dead') and orphans.request_of(q, job.id) or '-'
    local next_attempt, earlier_request, first = string.match(redis.call('GET', key) or '', '^(%d+) (%S+) (%d+)$')
    if earlier_request ~= request then first = next_attempt or 0 end -- this job counted on from the earlier one's
    next_attempt = math.max(tonumber(next_attempt or 0), last + 1)
    redis.call('SET', key, table.concat({ int(next_attempt), request, first }, ' '), 'PX', int(RETENTION / 1000))
    redis.call('HSET', q.meta, 'attempts_until', int(q.now + RETENTION))
  end
  redis.call('DEL', job_key(q, job.id), q.prefix .. 'body:' .. job.id, q.prefix .. 'result:' .. job.id)
  counters.bump(q.totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then counters.bump(q.group_load, job.group, -1) end
  for run_id in string.gmatch(earlier .. ' ' .. (job.run_id or ''), '%S+') do
    if is_old then
      redis.call('HDEL', job_record.runs_key(q, run_id), run_id)
    else
      jobs.keep_owner(q, run_id, job.id)
    end
  end
  if job.state == 'dead' then
    counters.remove_later(q, 'dead', job.id)
  else
    redis.call('HDEL', q.prefix .. 'orphan_jobs', job.id) -- a later life of its key gets none of its orphan runs
  end
  local batch = job.batch
  if batch ~= NO_BATCH
    and redis.call('HINCRBY', q.prefix .. 'batch:' .. batch, 'retired', 1) >= batches.size(q, batch) then
    batches.drop(q, batch)
  end
end

-- Ends a job; `fields` are further record fields. Retention walks the day's list later.
function jobs.end_job(q, job, state, fields)
  if state == 'dead' then redis.call('ZADD', q.prefix .. 'dead', int(q.now), job.id) end
  if job.process or job.state == 'scheduled' then
    redis.call('HDEL', job_key(q, job.id), 'process', 'run_at', 'claimed_server_time')
  end
  if job.deadline then counters.remove_later(q, 'deadlines', job.id) end
  counters.count_state(q, job, state)
  counters.bump(q.totals, 'ended:' .. state, 1)
  redis.call('HSET', job_key(q, job.id), 'state', state, 'ended', now_text(q), unpack(fields))
  q.ended_ids[#q.ended_ids + 1] = job.id
end

-- Cancels a job that waits.
function jobs.cancel_waiting(q, job)
  jobs.end_job(q, job, 'canceled', { 'reason',
    job.runs > 0 and 'canceled before it was submitted again' or 'canceled before it was submitted' })
end

-- Ends a job without a run: canceled if that was requested; dead if its time was up.
function jobs.end_without_run(q, job, reason)
  if job.cancel == 'asked' then
    jobs.end_job(q, job, 'canceled', { 'reason',
      job.runs > 0 and 'canceled before it was submitted again' or 'canceled before a run of it existed' })
  else
    jobs.end_job(q, job, 'dead', { 'reason', job.cancel or reason })
  end
end

-- A run of the job may exist: it is searched from now on, and the job keeps its slot. The run cannot be older than the
-- claim (`claimed`).
local FIRST_LOOK = 2000000
function jobs.to_unconfirmed(q, job, reason)
  local claimed = redis.call('ZSCORE', q.prefix .. 'claims:' .. (job.process or ''), job.id)
    or redis.call('HGET', job_key(q, job.id), 'taken')
  counters.count_state(q, job, 'unconfirmed')
  redis.call('HSET', job_key(q, job.id), 'state', 'unconfirmed', 'reason', reason, 'claimed', claimed or int(q.now))
  redis.call('HDEL', job_key(q, job.id), 'process')
  redis.call('ZADD', q.prefix .. 'unconfirmed', int(q.now), job.id)
  redis.call('ZADD', q.prefix .. 'reconcile', int(q.now + FIRST_LOOK), job.id)
end

-- Frees the slot of an unconfirmed job; it stays unconfirmed, for a late answer or an operator.
function jobs.give_slot_back(q, job, since)
  redis.call('ZREM', q.prefix .. 'unconfirmed', job.id)
  redis.call('ZADD', q.prefix .. 'unconfirmed_no_slot', since, job.id)
  redis.call('HSET', job_key(q, job.id), 'slot', '0')
  counters.free_slot(q, job)
end

-- Redis may have lost the job's next claim (mark_maybe_claimed.lua): its run is searched, under the next attempt; it
-- takes no slot and keeps its time (`run_at`). `lost` = '<since when it may have been made> <1: submissions carry
-- markers> <Skyvern's date then; nothing: not known>'; a job whose run is searched later has it in its field
-- `maybe_claimed_at`.
jobs.LOST_CLAIM = 'Redis may have lost its claim: a run that no job owns may be its own'
function jobs.look_for_lost(q, job, lost)
  local claimed, marked, date = string.match(lost, '^(%d+) ([01]) (%d*)$')
  jobs.to_unconfirmed(q, job, jobs.LOST_CLAIM)
  jobs.give_slot_back(q, job, int(q.now))
  redis.call('HSET', job_key(q, job.id), 'attempt', int(job.attempt + 1), 'claimed', claimed, 'claimed_server_time',
    date)
  redis.call('HDEL', job_key(q, job.id), 'maybe_claimed_at')
  if marked ~= '1' then redis.call('HSET', job_key(q, job.id), 'no_marker', '1') end
end

-- A waiting job that is to end for `why` (nil: it is not) has its run searched first if its claim may be lost: a run is
-- canceled once it is found. False if nothing is to be searched.
function jobs.look_before_end(q, job, why)
  local lost = redis.call('HGET', job_key(q, job.id), 'maybe_claimed_at')
  if not lost then return false end
  local state = job.state
  jobs.look_for_lost(q, job, lost)
  if state == 'scheduled' then counters.remove_later(q, 'due', job.id) end
  if why then redis.call('HSETNX', job_key(q, job.id), 'cancel', why) end
  return true
end

-- A job that gave its slot back is in `unconfirmed_no_slot`; its record loses that with the state. It may have a time
-- to wait for, or be of a discarded upload (`upload_abandoned`, see expire_batches.lua).
function jobs.no_longer_unconfirmed(q, job)
  counters.remove_later(q, 'reconcile', job.id)
  redis.call('HDEL', job_key(q, job.id), 'not_found_count', 'not_found_at', 'not_seen_count', 'not_seen_at', 'claimed',
    'claimed_server_time', 'search_message', 'candidates')
  if job.slot == '0' then
    counters.remove_later(q, 'unconfirmed_no_slot', job.id)
    job.waits_until = tonumber(job.run_at or 0)
    redis.call('HDEL', job_key(q, job.id), 'slot', 'run_at', 'upload_abandoned')
  else
    counters.remove_later(q, 'unconfirmed', job.id)
  end
end

-- True while the job is still at that attempt, its outcome open; it is then removed from the claims.
function jobs.may_leave(q, job, attempt)
  if job.attempt ~= tonumber(attempt) then return false end
  if job.state == 'submitting' then
    counters.remove_later(q, 'claims:' .. (job.process or ''), job.id)
  elseif job.state == 'unconfirmed' then
    jobs.no_longer_unconfirmed(q, job)
  else
    return false
  end
  return true
end

-- When a job goes again whose process died while it submitted it: at a random time within a minute, after a second death
-- within ten, and not at the head of its lane, where those that died with it stand. After a third it is dead.
local CRASHES_AGAIN, MOST_CRASHES = { 60000000, 600000000 }, 3
local function after_crash(job)
  return CRASHES_AGAIN[job.deaths] * tonumber(string.sub(redis.sha1hex(job.id .. int(job.attempt)), 1, 8), 16) / 2 ^ 32
end

-- A job that surely has no run goes back to its lane, or waits for its time, unless it is to end.
function jobs.ready_again(q, job, at_head)
  if job.cancel then
    jobs.end_without_run(q, job)
  elseif job.upload_abandoned then
    if job.deadline then counters.remove_later(q, 'deadlines', job.id) end
    jobs.remove_record(q, job)
  elseif job.deaths >= MOST_CRASHES then
    local reason = 'crash loop: ' .. int(job.deaths) .. ' workers died while they submitted it'
    jobs.end_job(q, job, 'dead', { 'reason', reason })
    counters.bump(q.totals, 'crash_loops', 1)
  elseif job.waits_until and (job.waits_until > q.now or (job.waits_until > 0 and clock_is_stale(q))) then
    redis.call('HDEL', job_key(q, job.id), 'process', 'reason')
    counters.count_state(q, job, 'scheduled')
    redis.call('HSET', job_key(q, job.id), 'state', 'scheduled', 'run_at', int(job.waits_until))
    redis.call('ZADD', q.prefix .. 'due', int(job.waits_until), job.id)
  elseif job.deaths > 0 and job.state == 'unconfirmed'
    and redis.call('HGET', job_key(q, job.id), 'died') == int(job.attempt) then
    local start = int(q.now + after_crash(job))
    redis.call('HDEL', job_key(q, job.id), 'process', 'claimed_server_time')
    counters.count_state(q, job, 'scheduled')
    redis.call('ZADD', q.prefix .. 'due', start, job.id)
    redis.call('HSETNX', job_key(q, job.id), 'put_off', '0') -- this time is not its user's
    redis.call('HSET', job_key(q, job.id), 'state', 'scheduled', 'run_at', start,
      'reason', 'its worker died while it submitted it')
  else
    redis.call('HDEL', job_key(q, job.id), 'process', 'claimed_server_time', 'reason')
    counters.count_state(q, job, 'ready')
    redis.call('HSET', job_key(q, job.id), 'state', 'ready')
    lanes.push(q, job.priority, job.group, lanes.of(job), { job.id }, at_head)
  end
end

-- How long a job waits that Skyvern could not run now for a reason of the job's own: half a minute doubling to ten, in
-- microseconds; nil = it was tried `most` times. Runs that found their session occupied (`occupied`) are counted apart from
-- submissions that were refused.
function jobs.put_off(q, job, most, is_occupied)
  local key = job_key(q, job.id)
  local tries = redis.call('HINCRBY', key, 'put_off', 1)
  local occupied = is_occupied and redis.call('HINCRBY', key, 'occupied', 1)
    or tonumber(redis.call('HGET', key, 'occupied') or 0)
  tries = is_occupied and occupied or tries - occupied
  return tries < most and math.min(30000000 * 2 ^ (tries - 1), 600000000) or nil
end

return jobs
