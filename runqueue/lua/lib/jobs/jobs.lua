-- use: counters lanes batches record webhooks strays
-- The transitions of a job: its ends, unconfirmed, back to its lane, and its removal.

-- The names in the `files` of a job's record, at most 50.
local function file_names(files)
  local names = {}
  for file in string.gmatch(files or '', '%S+') do names[#names + 1] = file end
  return names
end

-- A removed job releases the uploaded files that it holds (see files.lua).
local function drop_files(id, files)
  local names, own = file_names(files), {}
  if #names == 0 then return end
  for i, owner in ipairs(redis.call('HMGET', PREFIX .. 'files', unpack(names))) do
    if owner == id then own[#own + 1] = names[i] end
  end
  if #own > 0 then redis.call('HDEL', PREFIX .. 'files', unpack(own)) end
end

-- The owner of a run is kept for as long as the records of jobs that ended today (REMEMBERED of worker/runs/search.py),
-- so that no search takes it for an equal job's. '~' means that it has no owner now.
local function keep_owner(run_id, job_id)
  redis.call('HSET', runs_key(run_id), run_id, '~' .. job_id)
  ended[#ended + 1] = 'stray ' .. run_id
end

-- The highest attempt known of a job: by its record, or by its orphan runs, whose claims Redis may have lost.
local function last_attempt(job)
  local last = job.attempt
  for run_id in string.gmatch(has_strays() and redis.call('HGET', STRAY_JOBS, job.id) or '', '%S+') do
    local attempt = string.match(redis.call('HGET', PREFIX .. 'strays', run_id) or '', '^%S+ (%d+)')
    last = math.max(last, tonumber(attempt or 0))
  end
  return last
end

-- Removes a job whose retention is over (`is_old`), or that is discarded: record, body, result, entries. If a discarded
-- job's key is used for another request, that counts on from its attempts: no run of the one has a marker of the other.
-- One attempt is left out, whose claim Redis may have lost, and whose run may come later.
-- The same request counts from where it began before, and may have its orphan run again (own_strays.lua).
local function remove_record(job, is_old)
  local f = redis.call('HMGET', job_key(job.id), 'earlier', 'files', 'charged')
  local earlier = f[1] or ''
  job.charged = f[3]
  discharge(job)
  drop_files(job.id, f[2])
  drop_delivery(job)
  local last = is_old and 0 or last_attempt(job)
  if last > 0 then
    local key = PREFIX .. 'attempts:' .. job.id
    local request = request_of(job.id)
    local next_attempt, earlier_request, first = string.match(redis.call('GET', key) or '', '^(%d+) (%S+) (%d+)$')
    if earlier_request ~= request then first = next_attempt or 0 end -- this job counted on from the earlier one's
    next_attempt = math.max(tonumber(next_attempt or 0), last + 1)
    redis.call('SET', key, table.concat({ int(next_attempt), request, first }, ' '), 'PX', int(KEPT / 1000))
    redis.call('HSET', META, 'attempts_until', int(NOW + KEPT))
  end
  redis.call('DEL', job_key(job.id), PREFIX .. 'body:' .. job.id, PREFIX .. 'result:' .. job.id)
  bump(totals, job.state .. ':' .. job.priority, -1)
  if job.state == 'ready' then bump(group_load, job.group, -1) end
  for run_id in string.gmatch(earlier .. ' ' .. (job.run_id or ''), '%S+') do
    if is_old then redis.call('HDEL', runs_key(run_id), run_id) else keep_owner(run_id, job.id) end
  end
  if job.state == 'dead' then
    remove_later('dead', job.id)
  else
    redis.call('HDEL', STRAY_JOBS, job.id) -- a later life of its key gets none of its orphan runs
  end
  local batch = job.batch
  if batch ~= NO_BATCH and redis.call('HINCRBY', PREFIX .. 'batch:' .. batch, 'retired', 1) >= batch_size(batch) then
    drop_batch(batch)
  end
end

-- Ends a job; `fields` are further record fields. Retention walks the day's list later.
local function end_job(job, state, fields)
  if state == 'dead' then redis.call('ZADD', PREFIX .. 'dead', int(NOW), job.id) end
  if job.process or job.state == 'scheduled' then
    redis.call('HDEL', job_key(job.id), 'process', 'run_at', 'claim_date')
  end
  if job.deadline then remove_later('deadlines', job.id) end
  count_state(job, state)
  bump(totals, 'ended:' .. state, 1)
  redis.call('HSET', job_key(job.id), 'state', state, 'ended', now_text(), unpack(fields))
  ended[#ended + 1] = job.id
end

-- Cancels a job that waits.
local function cancel_waiting(job)
  end_job(job, 'canceled', { 'reason',
    job.runs > 0 and 'canceled before it was submitted again' or 'canceled before it was submitted' })
end

-- Ends a job without a run: canceled if that was requested; dead if its time was up.
local function end_without_run(job, reason)
  if job.cancel == 'asked' then
    end_job(job, 'canceled', { 'reason',
      job.runs > 0 and 'canceled before it was submitted again' or 'canceled before a run of it existed' })
  else
    end_job(job, 'dead', { 'reason', job.cancel or reason })
  end
end

-- A run of the job may exist: it is searched from now on, and the job keeps its slot. The run cannot be older than the
-- claim (`claimed`).
local FIRST_LOOK = 2000000
local function to_unconfirmed(job, reason)
  local claimed = redis.call('ZSCORE', PREFIX .. 'claims:' .. (job.process or ''), job.id)
    or redis.call('HGET', job_key(job.id), 'taken')
  count_state(job, 'unconfirmed')
  redis.call('HSET', job_key(job.id), 'state', 'unconfirmed', 'reason', reason, 'claimed', claimed or int(NOW))
  redis.call('HDEL', job_key(job.id), 'process')
  redis.call('ZADD', PREFIX .. 'unconfirmed', int(NOW), job.id)
  redis.call('ZADD', PREFIX .. 'reconcile', int(NOW + FIRST_LOOK), job.id)
end

-- Frees the slot of an unconfirmed job; it stays unconfirmed, for a late answer or an operator.
local function park(job, since)
  redis.call('ZREM', PREFIX .. 'unconfirmed', job.id)
  redis.call('ZADD', PREFIX .. 'parked', since, job.id)
  redis.call('HSET', job_key(job.id), 'slot', '0')
  free_slot(job)
end

-- Redis may have lost the job's next claim (suspect_lost.lua): its run is searched, under the next attempt; it takes no
-- slot and keeps its time (`run_at`). `lost` = '<since when it may have been made> <1: submissions carry markers>
-- <Skyvern's date then; nothing: not known>'; a job whose run is searched later has it in its field `lost_claim`.
local LOST_CLAIM = 'Redis may have lost its claim: a run that no job owns may be its own'
local function look_for_lost(job, lost)
  local claimed, marked, date = string.match(lost, '^(%d+) ([01]) (%d*)$')
  if not claimed then error({ err = 'WRONGTYPE ' .. job_key(job.id) .. ': its lost_claim cannot be read' }) end
  to_unconfirmed(job, LOST_CLAIM)
  park(job, int(NOW))
  redis.call('HSET', job_key(job.id), 'attempt', int(job.attempt + 1), 'claimed', claimed, 'claim_date', date)
  redis.call('HDEL', job_key(job.id), 'lost_claim')
  if marked ~= '1' then redis.call('HSET', job_key(job.id), 'unmarked', '1') end
end

-- A waiting job that is to end for `why` (nil: it is not) has its run searched first if its claim may be lost: a run is
-- canceled once it is found. False if nothing is to be searched.
local function look_before_end(job, why)
  local lost = redis.call('HGET', job_key(job.id), 'lost_claim')
  if not lost then return false end
  for _, zset in ipairs({ 'parked', 'unconfirmed', 'reconcile' }) do expect(PREFIX .. zset, 'zset') end
  local state = job.state
  look_for_lost(job, lost)
  if state == 'scheduled' then remove_later('due', job.id) end
  if why then redis.call('HSETNX', job_key(job.id), 'cancel', why) end
  return true
end

-- A job that gave its slot back is in `parked`; its record loses that with the state. It may have a time to wait for,
-- or be of a discarded upload (`given_up`, see expire_batches.lua).
local function no_longer_unconfirmed(job)
  remove_later('reconcile', job.id)
  redis.call('HDEL', job_key(job.id), 'negatives', 'negative_at', 'absents', 'absent_at', 'claimed',
    'claim_date', 'search_note', 'candidates')
  if job.slot == '0' then
    remove_later('parked', job.id)
    local f = redis.call('HMGET', job_key(job.id), 'run_at', 'given_up')
    job.run_at, job.given_up = tonumber(f[1] or 0), f[2]
    redis.call('HDEL', job_key(job.id), 'slot', 'run_at', 'given_up')
  else
    remove_later('unconfirmed', job.id)
  end
end

-- True while the job is still at that attempt, its outcome open; it is then removed from the claims.
local function may_leave(job, attempt)
  if job.attempt ~= tonumber(attempt) then return false end
  if job.state == 'submitting' then
    remove_later('claims:' .. (job.process or ''), job.id)
  elseif job.state == 'unconfirmed' then
    no_longer_unconfirmed(job)
  else
    return false
  end
  return true
end

-- A job that surely has no run goes back to its lane, or waits for its time, unless it is to end. A job whose process
-- died twice during its submission waits apart (see claim.lua); after a third death it is dead.
local SUSPECT, POISON = 2, 3
local function ready_again(job, at_head)
  if job.cancel then
    end_without_run(job)
  elseif job.given_up then
    if job.deadline then remove_later('deadlines', job.id) end
    remove_record(job)
  elseif job.deaths >= POISON then
    end_job(job, 'dead', { 'reason', 'poison: ' .. int(job.deaths) .. ' workers died while they submitted it' })
    bump(totals, 'poisoned', 1)
  elseif job.run_at and (job.run_at > NOW or (job.run_at > 0 and clock_is_stale())) then
    redis.call('HDEL', job_key(job.id), 'process', 'reason')
    count_state(job, 'scheduled')
    redis.call('HSET', job_key(job.id), 'state', 'scheduled', 'run_at', int(job.run_at))
    redis.call('ZADD', PREFIX .. 'due', int(job.run_at), job.id)
  elseif job.deaths == SUSPECT then
    redis.call('HDEL', job_key(job.id), 'process', 'claim_date', 'reason')
    count_state(job, 'ready')
    redis.call('HSET', job_key(job.id), 'state', 'ready')
    redis.call('ZADD', PREFIX .. 'suspects', int(NOW), job.id)
  else
    redis.call('HDEL', job_key(job.id), 'process', 'claim_date', 'reason')
    count_state(job, 'ready')
    redis.call('HSET', job_key(job.id), 'state', 'ready')
    push(job.priority, job.group, lane_of(job), { job.id }, at_head)
  end
end

-- How long a job waits that Skyvern could not run now for a reason of the job's own: half a minute doubling to ten, in
-- microseconds; nil = it was tried `most` times. Runs that found their session occupied (`occupied`) are counted apart from
-- submissions that were refused.
local function put_off(job, most, is_occupied)
  local key = job_key(job.id)
  local tries = redis.call('HINCRBY', key, 'put_off', 1)
  local occupied = is_occupied and redis.call('HINCRBY', key, 'occupied', 1)
    or tonumber(redis.call('HGET', key, 'occupied') or 0)
  tries = is_occupied and occupied or tries - occupied
  return tries < most and math.min(30000000 * 2 ^ (tries - 1), 600000000) or nil
end
