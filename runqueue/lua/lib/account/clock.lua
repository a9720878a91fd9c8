-- use: counters batches server
-- The server's clock may be set. A step back would delay every lease, poll and deadline; a step ahead would end them
-- early. With its ticks and heartbeats each process reports how far its own monotonic clock went; the difference to
-- the server's clock is kept in `clock_lost`, which every script adds. A difference of up to two seconds changes nothing;
-- smaller ones of a process that is sure (see below) add up, since they do not move its base of comparison.
--
-- A step back shows at once: the time is less than one reported before. A step ahead is believed when the same
-- process sees it twice, in reports sent a second apart, since a report that was under way while the server was
-- suspended (a paused machine, a slow disk) looks the same. A delay shrinks between two reports; a clock step does
-- not. Until then no report becomes the base of comparison, and unless a lease shows that the time has passed, the
-- clock that was last believed (`clock`) is used: decisions by time wait.
--
-- A server that was suspended with its clock (a paused machine) does not show that time, but the process counted it.
-- A late report that is the base of comparison has the same effect: a process is believed once two of its reports,
-- sent a second apart, were equally late (`sure`). Its base then moves only to a report that agrees with it: after a
-- suspension many waiting reports are read at once, each less than two seconds from the one before.
local clock = {}
local SENT_APART, AGREES = 1000000, 100000
-- A process that began in a time not believed yet cannot report an earlier step: processes that began before have so
-- long to report it.
local OTHERS_TELL = 3000000
local LEASE = 15000000 -- of runqueue/store/live_processes.py
-- A gap is a time in which no process lived, so none counted it. Whether the clock was set in it shows in the dates of
-- Skyvern's answers: its clock is then ahead of ours by more, or less, than before. Until the first date after a gap is
-- reported, all of the gap may have been a step. After a step, times from before it are not compared with dates
-- (submission_times.lua).
-- Fields of meta: date_ahead (by how much Skyvern's clock is ahead, by the last heartbeat; less the gaps since then);
-- date_before = '<date_ahead before the gap, or nothing if it is not known> <end of the gap>', until a date is reported;
-- dated_since (the end of the last gap with a step).
local DATES_APART = 10000000

-- Times that scripts write before a step ahead is believed are too late by it: the next poll of a run, its start, a
-- hold's end. Once the clock is right again, they are set back: fields of meta at once, entries of indexes by the next
-- ticks, a bounded number each. Times that a user chose stay, except those counted from a moment in that time: delays
-- (`relative`, see enqueue.lua), and the expiry of batches that were sealed in it. Leases of processes are cut to their
-- full length: a lease written just before a step of its own length looks like one written after it, and if it were set
-- back, its owner would count as dead.
--
-- The clock may be set several times until one step is believed. Reports that are not believed show how far it is ahead
-- meanwhile (`clock_ahead`). If a record shows when it was written, it is set back by the least of these amounts that
-- puts that moment between the time last believed and now; if none does, the moment becomes now. So no delay ends early.
-- Any other entry is set back by the largest amount that it can be late by. An entry from before the step is set back,
-- too, which costs a call at most.
-- Fields of meta (microseconds): clock_ahead = '<ahead> <ahead> …'; set_back = '<now> <last believed>
-- <ahead>,<ahead>,…, <index> <cursor>', while entries are to be set back; has_relative: see core.lua.
local OWN_FIELDS = { 'hold_until', 'asked_until', 'probing', 'recover_from', 'recover_since', 'list_at', 'list_until',
  'list_off', 'list_reach', 'others_at', 'others_until', 'others_waited', 'pace_at', 'run_ended', 'reads_ok',
  'reads_failing', 'reads_failed' }
local OWN_INDEXES = { 'poll', 'cancels', 'orphan_polls', 'reconcile', 'unconfirmed', 'unconfirmed_no_slot', 'listed',
  'relays', 'watches', 'callbacks', 'run_details', 'due', 'deadlines', 'expiring', 'held_keys', 'held_budgets',
  'deferred_for', 'paused', 'archive_again' }
local CHOSEN = { due = true, deadlines = true, expiring = true } -- may be any time ahead
local IS_SINCE = { unconfirmed = true, unconfirmed_no_slot = true, paused = true } -- when something happened
local A_STEP, MOST_AHEAD = 1000, 8

-- Where the clock was ahead: `now` = the time of the correction, `last` = the time last believed before.
local function read_steps(now, last, amounts)
  local steps = { now = tonumber(now), last = tonumber(last), amounts = {} }
  for ahead in string.gmatch(amounts, '%d+') do steps.amounts[#steps.amounts + 1] = tonumber(ahead) end
  table.sort(steps.amounts)
  return steps
end

-- By how much an entry may be too late, at most.
local function entry_lateness(steps, at)
  local late = 0
  for _, ahead in ipairs(steps.amounts) do
    if at > steps.last + ahead - STEP then late = ahead end
  end
  return late
end

-- By how much a record is too late that was written at a time.
local function record_lateness(steps, written)
  if not written or written <= steps.now then return 0 end
  for _, ahead in ipairs(steps.amounts) do
    local was = written - ahead
    if was <= steps.now and was > steps.last - STEP then return ahead end
  end
  return written - steps.now
end

-- The same for a time that nothing says to be from then: what was written since is not too late.
local function since_lateness(q, steps, at) return at and at > q.now and record_lateness(steps, at) or 0 end

local function set_fields_back(key, fields, lateness)
  local written = {}
  for i, at in ipairs(redis.call('HMGET', key, unpack(fields))) do
    local late = at and lateness(tonumber(at)) or 0
    if late > 0 then
      written[#written + 1] = fields[i]
      written[#written + 1] = int(tonumber(at) - late)
    end
  end
  if #written > 0 then redis.call('HSET', key, unpack(written)) end
end

-- True for a job that is scheduled for a retry of its run or submission: a user's time is before the first one.
local function waits_for_us(q, id)
  local f = redis.call('HMGET', job_key(q, id), 'runs', 'put_off')
  return tonumber(f[1] or 0) > 0 or f[2]
end

-- By how much a job's time ('run_at' | 'deadline') is too late; 0 for one that does not count from its creation. It is
-- set right once: the creation stays as it is shown.
local function relative_lateness(q, steps, id, field)
  local f = redis.call('HMGET', job_key(q, id), 'relative', 'created')
  if not (f[1] and string.find(f[1], field, 1, true)) then return 0 end
  local late = record_lateness(steps, tonumber(f[2]))
  if late > 0 then redis.call('HSET', job_key(q, id), 'relative', (string.gsub(f[1], field, ''))) end
  return late
end

-- By how much an entry is too late; sets back the job's or batch's own fields, too.
local function set_record_back(q, steps, index, id, at)
  local late = entry_lateness(steps, at)
  local key, fields = job_key(q, id)
  if index == 'poll' then
    late = math.max(late, since_lateness(q, steps, tonumber(redis.call('HGET', key, 'started') or 0)))
    set_fields_back(key, { 'started', 'begun' }, function(time) return since_lateness(q, steps, time) end)
  elseif IS_SINCE[index] then
    late, fields = since_lateness(q, steps, at), { 'paused_since', 'approving_until' }
  elseif index == 'due' then
    if not waits_for_us(q, id) then late = relative_lateness(q, steps, id, 'run_at') end
    fields = { 'run_at' }
  elseif index == 'deadlines' then
    late, fields = relative_lateness(q, steps, id, 'deadline'), { 'deadline' }
  elseif index == 'expiring' then
    key = batches.key(q, id)
    late = since_lateness(q, steps, tonumber(redis.call('HGET', key, 'sealed_at') or 0))
    fields = { 'sealed_at', 'expires_at' }
  end
  if fields and late > 0 then set_fields_back(key, fields, function() return late end) end
  return late
end

-- One step of the work in `set_back`.
function clock.set_back(q, progress)
  local now, last, amounts, at, cursor = string.match(progress, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  local steps, left, stays = read_steps(now, last, amounts), A_STEP, false
  local up_to = int(steps.now + (steps.amounts[#steps.amounts] or 0) + DAY)
  at = tonumber(at)
  while left > 0 and OWN_INDEXES[at] do
    local index, back = OWN_INDEXES[at], {}
    local found = redis.call('ZRANGEBYSCORE', q.prefix .. index, cursor, CHOSEN[index] and '+inf' or up_to,
      'WITHSCORES', 'LIMIT', 0, left)
    for i = 1, #found, 2 do
      local score = tonumber(found[i + 1])
      local late = set_record_back(q, steps, index, found[i], score)
      stays = late == 0
      if not stays then
        back[#back + 1] = int(score - late)
        back[#back + 1] = found[i]
      end
    end
    in_parts('ZADD', q.prefix .. index, back)
    if #found / 2 < left then
      at, cursor = at + 1, '(' .. now
    else
      -- Others may have the same time as the last: they are still in the index, unless the last one stayed.
      cursor = (stays and '(' or '') .. int(tonumber(found[#found]))
    end
    left = left - #found / 2
  end
  if OWN_INDEXES[at] then
    redis.call('HSET', q.meta, 'set_back', table.concat({ now, last, amounts, int(at), cursor }, ' '))
  else
    redis.call('HDEL', q.meta, 'set_back')
  end
end

-- The clock was ahead by these amounts since some time after `last`, and is not any more.
local function begin_setting_back(q, last, amounts)
  local now = int(q.now)
  local joined = table.concat(amounts, ',') .. ','
  local steps = read_steps(now, last, joined)
  set_fields_back(q.meta, OWN_FIELDS, function(at) return entry_lateness(steps, at) end)
  redis.call('HSET', q.meta, 'set_back', table.concat({ now, int(last), joined, '1', '(' .. now }, ' '))
  local cut = {}
  for _, process in ipairs(redis.call('ZRANGEBYSCORE', q.prefix .. 'processes', int(q.now + LEASE + STEP), '+inf')) do
    cut[#cut + 1] = int(q.now + LEASE)
    cut[#cut + 1] = process
  end
  in_parts('ZADD', q.prefix .. 'processes', cut)
end

local function record_clock_ahead(q, ahead)
  local recorded = redis.call('HGET', q.meta, 'clock_ahead') or ''
  local count = 0
  for seen in string.gmatch(recorded, '%d+') do
    count = count + 1
    if count == MOST_AHEAD or math.abs(tonumber(seen) - ahead) < STEP then return end
  end
  redis.call('HSET', q.meta, 'clock_ahead', (recorded ~= '' and recorded .. ' ' or '') .. int(ahead))
end

-- The clock is believed again. What was written while the clock was ahead is set back: by what it was corrected by now
-- (nil = not at all), and by what reports showed whose time is still to come. Another time has really passed: the
-- server stood still.
local function end_clock_ahead(q, last, corrected)
  local recorded, has_relative = unpack(redis.call('HMGET', q.meta, 'clock_ahead', 'has_relative'))
  local amounts = { corrected and int(corrected) }
  for ahead in string.gmatch(recorded or '', '%d+') do
    if last + tonumber(ahead) > q.now + STEP and not (corrected and math.abs(tonumber(ahead) - corrected) < STEP) then
      amounts[#amounts + 1] = ahead
    end
  end
  if has_relative or #amounts > 0 then begin_setting_back(q, last, amounts) end
  if recorded or has_relative then redis.call('HDEL', q.meta, 'clock_ahead', 'has_relative') end
end

local function shift_clock(q, shift)
  redis.call('HINCRBY', q.meta, 'clock_lost', int(shift))
  q.now = q.now + shift
  counters.bump(q.totals, 'clock_steps', 1)
end

local function believe_clock(q)
  q.believed = q.now
  redis.call('HSET', q.meta, 'clock', int(q.now))
end

-- ... = the queue's and the process's clock, both again at a step seen once, and 'sure' if it is.
local function remember_clock(q, process, ...)
  if redis.call('ZSCORE', q.prefix .. 'processes', process) then
    redis.call('HSET', q.prefix .. 'clocks', process, table.concat({ ... }, ' '))
  end
end

-- A lease further ahead began in a time not believed yet, and proves nothing about it.
local function a_lease_holds(q)
  return redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.now), int((q.believed or q.now) + LEASE + STEP)) > 0
end

-- Handles a report by which more time passed than its process counted. True once that is believed; if the process's
-- machine slept, it counted too few seconds, and the leases of the others still hold.
local function is_ahead(q, process, own, passed, ahead, sure)
  local then_us, then_passed, seen, seen_passed = unpack(own)
  local apart = seen and passed - seen_passed
  if apart and apart >= SENT_APART and math.abs(ahead - seen) < apart / 2 then return true end
  if not apart or apart >= SENT_APART then
    remember_clock(q, process, int(then_us), int(then_passed), int(ahead), int(passed), sure)
  end
  if a_lease_holds(q) then
    believe_clock(q)
  else
    record_clock_ahead(q, ahead)
  end
  return false
end

-- True for a process that began only lately, in a time not believed yet: processes from before can tell whether the
-- clock was set meanwhile, and it itself a little later.
local function others_may_tell(q, counted)
  return counted < OTHERS_TELL and clock_is_stale(q)
    and redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.believed), '+inf') > 0
end

-- Notes a gap that ends now. `is_trusted` comes first: it begins the search for lost claims, which needs `date_ahead` from
-- before the gap.
local function note_gap(q, last)
  server.is_trusted(q)
  local f = redis.call('HMGET', q.meta, 'date_ahead', 'date_before')
  local before = f[2] and string.match(f[2], '^%S*') or f[1] or ''
  redis.call('HSET', q.meta, 'date_before', before .. ' ' .. int(q.now))
  if f[1] then redis.call('HINCRBY', q.meta, 'date_ahead', int(last - q.now)) end
end

-- Notes the least that Skyvern's clock shows now ('' = not known).
function clock.note_date(q, date)
  if date == '' or clock_is_stale(q) then return end
  local ahead = tonumber(date) - q.now
  local before, ended = string.match(redis.call('HGET', q.meta, 'date_before') or '', '^(%S*) (%d+)$')
  if ended then
    redis.call('HDEL', q.meta, 'date_before')
    if before == '' or math.abs(ahead - tonumber(before)) > DATES_APART then
      redis.call('HSET', q.meta, 'dated_since', ended)
    end
  end
  redis.call('HSET', q.meta, 'date_ahead', int(ahead))
end

function clock.set_clock(q, process, passed)
  q.now = q.now - q.behind
  local last, own, is_new, corrected = q.believed or 0, {}, true
  local known = redis.call('HGET', q.prefix .. 'clocks', process) or ''
  local sure = string.match(known, 'sure')
  for number in string.gmatch(known, '%d+') do own[#own + 1] = tonumber(number) end
  if #own > 0 then
    local apart = passed - own[2]
    local ahead = q.now - own[1] - apart
    if sure and math.abs(ahead) < STEP then
      is_new = math.abs(ahead) < AGREES
      if not is_new and own[3] then -- a late one was seen
        remember_clock(q, process, int(own[1]), int(own[2]), sure)
      end
    elseif math.abs(ahead) < STEP then
      is_new = apart >= SENT_APART
      if is_new and math.abs(ahead) < apart / 2 then sure = 'sure' end
    end
    if -ahead > STEP and (sure or last > q.now) then
      shift_clock(q, math.max(-ahead, last - q.now))
    elseif ahead > STEP then
      if not is_ahead(q, process, own, passed, ahead, sure) then return end
      if not a_lease_holds(q) then
        shift_clock(q, -ahead)
        corrected = ahead
      end
    elseif others_may_tell(q, passed - own[2]) then
      q.now = q.now + q.behind
      return
    end
  elseif others_may_tell(q, 0) then
    remember_clock(q, process, int(q.now), int(passed))
    q.now = q.now + q.behind
    return
  end
  if last > q.now + STEP then
    shift_clock(q, last - q.now)
    note_gap(q, last)
  elseif clock_is_stale(q) and not (own[1] and own[1] <= last) then
    note_gap(q, last)
  end
  believe_clock(q)
  end_clock_ahead(q, last, corrected)
  if is_new then remember_clock(q, process, int(q.now), int(passed), sure) end
end

return clock
