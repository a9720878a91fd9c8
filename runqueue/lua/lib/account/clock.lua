-- use: counters batches save server
-- The server's clock may be set. Back, it would put every lease, poll and deadline off by as much; ahead, it
-- would end what has time yet. Each process tells with its ticks and heartbeats how far its own clock went
-- (which counts seconds since the machine started, and is never set); what the server's clock went otherwise
-- is made up for in `clock_lost`, which every script adds. Two seconds are not worth it.
--
-- A step back shows at once: the time is less than one that was told. A step ahead is believed when the same
-- process sees it twice, in reports that were sent a second apart: one that was on its way while the server
-- stood still (a paused machine, a slow disk) looks the same. Of two such the later is as much less late; of a
-- step both show the same. Until then no report is what the next is compared with, and unless a lease tells
-- that the time has passed, the clock that was last believed (`clock`) stays: what decides by time waits.
--
-- A server that stood still with its clock (a paused machine) shows no such time, but the process counted it. So it
-- does for a report that came late, if that is what the next is compared with: a process is believed once two of its
-- reports, sent a second apart, came equally late (`sure`).
local SENT_APART = 1000000
-- A process that began in a time which nobody believed yet cannot tell of a step before it: those that were there
-- before have so long to do so.
local OTHERS_TELL = 3000000
local LEASE = 15000000 -- of runqueue/store/live_processes.py

-- What scripts write before a step ahead is believed lies as far ahead: the next poll of a run, its start, a hold's end.
-- Once the step is made up for, these are set back by as much: fields of meta at once, entries of indexes by the next
-- ticks, a bounded number each. An entry that lay there before comes sooner by as much, which costs a call at most. What
-- a user chose stays, but what counts from a moment in that time: delays (`relative`, see enqueue.lua), and the time of
-- batches that were sealed in it. Leases of processes are cut to what
-- they would be at most: one that was written just before a step of its own length cannot be told from one that was
-- written after it, and set back, its owner would be taken for dead.
-- Field of meta: setting_back = '<by> <from> <up to> <index> <cursor>' (microseconds), while entries are to be set back.
local OWN_FIELDS = { 'hold_until', 'asked_until', 'probing', 'recover_from', 'recover_since', 'list_at', 'list_until',
  'list_off', 'list_reach', 'pace_at', 'suspects_until', 'run_ended', 'reads_ok', 'reads_failing', 'reads_failed' }
local OWN_INDEXES = { 'poll', 'cancels', 'stray_looks', 'reconcile', 'unconfirmed', 'parked', 'suspects', 'listed',
  'relays', 'watches', 'callbacks', 'due', 'deadlines', 'expiring' }
local CHOSEN = { due = true, deadlines = true, expiring = true } -- may lie ahead by any time
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

-- True for a job that is scheduled because its run, or its submission, is tried again: a user's time is before its first.
local function waits_for_us(id)
  local f = redis.call('HMGET', job_key(id), 'runs', 'put_off')
  return tonumber(f[1] or 0) > 0 or f[2]
end

-- True for a job that was handed in since then, with a time ('run_at' | 'deadline') that counts from there.
local function counts_since(id, field, from)
  local f = redis.call('HMGET', job_key(id), 'relative', 'created')
  return f[1] and string.find(f[1], field, 1, true) and tonumber(f[2] or 0) > from
end

-- Sets back what its entry in an index says, too; false if the entry is to stay.
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

-- One step of what `setting_back` says.
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
      -- Others may have the same time as the last: they are still there, unless the last itself stayed.
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

-- The clock stood ahead by so much since some time after `last`, and does not any more.
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

-- ... = the queue's clock and the process's, those of a step that it saw once, and 'sure' if so.
local function remember_clock(process, ...)
  if redis.call('ZSCORE', PREFIX .. 'processes', process) then
    redis.call('HSET', PREFIX .. 'clocks', process, table.concat({ ... }, ' '))
  end
end

-- One that lies further ahead was begun in a time that nobody believed yet, and says nothing of it.
local function a_lease_holds()
  return redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), int((believed or NOW) + LEASE + STEP)) > 0
end

-- The report says that more time went by than its process counted. True once that is believed; a process whose
-- machine slept counted too few seconds, then the leases of the others hold.
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

-- True for a process that has counted for so long only, since a time that nobody believes yet: who was there before
-- can tell whether the clock was set meanwhile, and it itself a little later.
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
    -- Nobody counted how long it was: what looks for lost claims begins while that is known.
    is_trusted()
  end
  believe_clock()
  redis.call('HDEL', META, 'clock_doubt')
  if is_new then remember_clock(process, int(NOW), int(passed), sure) end
end
