-- use: counters batches save server
-- The server's clock may be set. A step back would delay every lease, poll and deadline; a step ahead would end them
-- early. With its ticks and heartbeats each process reports how far its own monotonic clock went; the difference to
-- the server's clock is kept in `clock_lost`, which every script adds. Differences up to two seconds are ignored.
--
-- A step back shows at once: the time is less than one reported before. A step ahead is believed when the same
-- process sees it twice, in reports sent a second apart, since a report that was under way while the server was
-- suspended (a paused machine, a slow disk) looks the same. A delay shrinks between two reports; a clock step does
-- not. Until then no report becomes the base of comparison, and unless a lease shows that the time has passed, the
-- clock that was last believed (`clock`) is used: decisions by time wait.
--
-- A server that was suspended with its clock (a paused machine) does not show that time, but the process counted it.
-- A late report that is the base of comparison has the same effect: a process is believed once two of its reports,
-- sent a second apart, were equally late (`sure`).
local SENT_APART = 1000000
-- A process that began in a time not believed yet cannot report an earlier step: processes that began before have so
-- long to report it.
local OTHERS_TELL = 3000000
local LEASE = 15000000 -- of runqueue/store/live_processes.py

-- Times that scripts write before a step ahead is believed are too late by it: the next poll of a run, its start, a
-- hold's end. Once the step is corrected, they are set back: fields of meta at once, entries of indexes by the next
-- ticks, a bounded number each. An entry from before the step is set back, too, which costs a call at most. Times that
-- a user chose stay, except those counted from a moment in that time: delays (`relative`, see enqueue.lua), and the
-- expiry of batches that were sealed in it. Leases of processes are cut to their full length: a lease written just
-- before a step of its own length looks like one written after it, and if it were set back, its owner would count as
-- dead.
-- Field of meta: setting_back = '<by> <from> <up to> <index> <cursor>' (microseconds), while entries are to be set
-- back.
local OWN_FIELDS = { 'hold_until', 'asked_until', 'probing', 'recover_from', 'recover_since', 'list_at', 'list_until',
  'list_off', 'list_reach', 'pace_at', 'suspects_until', 'run_ended', 'reads_ok', 'reads_failing', 'reads_failed' }
local OWN_INDEXES = { 'poll', 'cancels', 'stray_looks', 'reconcile', 'unconfirmed', 'parked', 'suspects', 'listed',
  'relays', 'watches', 'callbacks', 'due', 'deadlines', 'expiring' }
local CHOSEN = { due = true, deadlines = true, expiring = true } -- may be any time ahead
local A_STEP = 1000

local function set_fields_back(key, fields, from, by)
  local written = {}
  for i, at in ipairs(redis.call('HMGET', key, unpack(fields))) do
    if at and tonumber(at) > from then
      written[#written + 1] = fields[i]
      written[#written + 1] = int(tonumber(at) - by)
    end
  end
  if #written > 0 then redis.call('HSET', key, unpack(written)) end
end

-- True for a job that is scheduled for a retry of its run or submission: a user's time is before the first one.
local function waits_for_us(id)
  local f = redis.call('HMGET', job_key(id), 'runs', 'put_off')
  return tonumber(f[1] or 0) > 0 or f[2]
end

-- True for a job that was enqueued since then, with a time ('run_at' | 'deadline') relative to that.
local function counts_since(id, field, from)
  local f = redis.call('HMGET', job_key(id), 'relative', 'created')
  return f[1] and string.find(f[1], field, 1, true) and tonumber(f[2] or 0) > from
end

-- Sets back the job's own field, too; false if the entry is to stay.
local function set_record_back(index, id, from, by)
  if index == 'poll' then
    set_fields_back(job_key(id), { 'started', 'begun' }, from, by)
  elseif index == 'due' then
    if not waits_for_us(id) and not counts_since(id, 'run_at', from) then return false end
    set_fields_back(job_key(id), { 'run_at' }, from, by)
  elseif index == 'deadlines' then
    if not counts_since(id, 'deadline', from) then return false end
    set_fields_back(job_key(id), { 'deadline' }, from, by)
  elseif index == 'expiring' then
    if tonumber(redis.call('HGET', batch_key(id), 'sealed_at') or 0) <= from then return false end
    set_fields_back(batch_key(id), { 'sealed_at', 'expires_at' }, from, by)
  end
  return true
end

-- One step of the work in `setting_back`.
local function set_back(told)
  local by, from, up_to, at, cursor = string.match(told, '^(%S+) (%S+) (%S+) (%S+) (%S+)$')
  local left, stays = A_STEP, false
  at = tonumber(at)
  while left > 0 and OWN_INDEXES[at] do
    local index, back = OWN_INDEXES[at], {}
    local found = redis.call('ZRANGEBYSCORE', PREFIX .. index, cursor, CHOSEN[index] and '+inf' or up_to,
      'WITHSCORES', 'LIMIT', 0, left)
    for i = 1, #found, 2 do
      local is_sound, moves = try(set_record_back, index, found[i], tonumber(from), tonumber(by))
      stays = is_sound and not moves
      if not stays then
        back[#back + 1] = int(tonumber(found[i + 1]) - tonumber(by))
        back[#back + 1] = found[i]
      end
    end
    in_parts('ZADD', PREFIX .. index, back)
    if #found / 2 < left then
      at, cursor = at + 1, '(' .. from
    else
      -- Others may have the same time as the last: they are still in the index, unless the last one stayed.
      cursor = (stays and '(' or '') .. int(tonumber(found[#found]))
    end
    left = left - #found / 2
  end
  if OWN_INDEXES[at] then
    redis.call('HSET', META, 'setting_back', table.concat({ by, from, up_to, int(at), cursor }, ' '))
  else
    redis.call('HDEL', META, 'setting_back')
  end
end

-- The clock was ahead by so much since some time after `last`, and is not any more.
local function begin_setting_back(by, last)
  local from, up_to = int(last + by - STEP), int(NOW + by + DAY)
  set_fields_back(META, OWN_FIELDS, tonumber(from), by)
  redis.call('HSET', META, 'setting_back', table.concat({ int(by), from, up_to, '1', '(' .. from }, ' '))
  for _, index in ipairs({ 'processes', 'readers' }) do
    local cut = {}
    for _, process in ipairs(redis.call('ZRANGEBYSCORE', PREFIX .. index, int(NOW + LEASE + STEP), '+inf')) do
      cut[#cut + 1] = int(NOW + LEASE)
      cut[#cut + 1] = process
    end
    in_parts('ZADD', PREFIX .. index, cut)
  end
end

local function shift_clock(shift)
  redis.call('HINCRBY', META, 'clock_lost', int(shift))
  NOW = NOW + shift
  bump(totals, 'clock_steps', 1)
  save()
end

local function believe_clock()
  believed = NOW
  redis.call('HSET', META, 'clock', int(NOW))
end

-- ... = the queue's and the process's clock, both again at a step seen once, and 'sure' if it is.
local function remember_clock(process, ...)
  if redis.call('ZSCORE', PREFIX .. 'processes', process) then
    redis.call('HSET', PREFIX .. 'clocks', process, table.concat({ ... }, ' '))
  end
end

-- A lease further ahead began in a time not believed yet, and proves nothing about it.
local function a_lease_holds()
  return redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), int((believed or NOW) + LEASE + STEP)) > 0
end

-- Handles a report by which more time passed than its process counted. True once that is believed; if the process's
-- machine slept, it counted too few seconds, and the leases of the others still hold.
local function is_ahead(process, own, passed, ahead, sure)
  local then_us, then_passed, seen, seen_passed = unpack(own)
  local apart = seen and passed - seen_passed
  if apart and apart >= SENT_APART and math.abs(ahead - seen) < apart / 2 then return true end
  if not apart or apart >= SENT_APART then
    remember_clock(process, int(then_us), int(then_passed), int(ahead), int(passed), sure)
  end
  if a_lease_holds() then
    believe_clock()
  else
    redis.call('HSET', META, 'clock_doubt', '1')
  end
  return false
end

-- True for a process that began only lately, in a time not believed yet: processes from before can tell whether the
-- clock was set meanwhile, and it itself a little later.
local function others_may_tell(counted)
  return counted < OTHERS_TELL and clock_is_stale()
    and redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(believed), '+inf') > 0
end

local function set_clock(process, passed)
  NOW = NOW - behind
  local last, own, is_new = believed or 0, {}, true
  local known = redis.call('HGET', PREFIX .. 'clocks', process) or ''
  local sure = string.match(known, 'sure')
  for number in string.gmatch(known, '%d+') do own[#own + 1] = tonumber(number) end
  if #own > 0 then
    local apart = passed - own[2]
    local ahead = NOW - own[1] - apart
    if not sure and math.abs(ahead) < STEP then
      is_new = apart >= SENT_APART
      if is_new and math.abs(ahead) < apart / 2 then sure = 'sure' end
    end
    if -ahead > STEP and (sure or last > NOW) then
      shift_clock(math.max(-ahead, last - NOW))
    elseif ahead > STEP then
      if not is_ahead(process, own, passed, ahead, sure) then return end
      if not a_lease_holds() then
        shift_clock(-ahead)
        begin_setting_back(ahead, last)
      end
    elseif others_may_tell(passed - own[2]) then
      NOW = NOW + behind
      return
    end
  elseif others_may_tell(0) then
    remember_clock(process, int(NOW), int(passed))
    NOW = NOW + behind
    return
  end
  if last > NOW + STEP then
    shift_clock(last - NOW)
    -- No process counted how long it was: the search for lost claims begins while that is known.
    is_trusted()
  end
  believe_clock()
  redis.call('HDEL', META, 'clock_doubt')
  if is_new then remember_clock(process, int(NOW), int(passed), sure) end
end
