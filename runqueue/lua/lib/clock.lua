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
local STEP, SENT_APART = 2000000, 1000000

local function shift_clock(shift)
  redis.call('HINCRBY', META, 'clock_lost', int(shift))
  NOW = NOW + shift
  bump(totals, 'clock_steps', 1)
  save()
end

local function remember_clock(process, ...)
  if redis.call('ZSCORE', PREFIX .. 'processes', process) then
    redis.call('HSET', PREFIX .. 'clocks', process, table.concat({ ... }, ' '))
  end
end

local function a_lease_holds()
  return redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '+inf') > 0
end

-- The report says that more time went by than its process counted. True once that is believed; a process whose
-- machine slept counted too few seconds, then the leases of the others hold.
local function is_ahead(process, own, passed, ahead)
  local then_us, then_passed, seen, seen_passed = unpack(own)
  local apart = seen and passed - seen_passed
  if apart and apart >= SENT_APART and math.abs(ahead - seen) < apart / 2 then return true end
  if not apart or apart >= SENT_APART then
    remember_clock(process, int(then_us), int(then_passed), int(ahead), int(passed))
  end
  if a_lease_holds() then
    redis.call('HSET', META, 'clock', int(NOW))
  else
    redis.call('HSET', META, 'clock_doubt', '1')
  end
  return false
end

local function set_clock(process, passed)
  local last, own = tonumber(redis.call('HGET', META, 'clock') or 0), {}
  for number in string.gmatch(redis.call('HGET', PREFIX .. 'clocks', process) or '', '%d+') do
    own[#own + 1] = tonumber(number)
  end
  if #own > 0 then
    local ahead = NOW - (own[1] + passed - own[2])
    if -ahead > STEP and last > NOW then
      shift_clock(math.max(-ahead, last - NOW))
    elseif ahead > STEP then
      if not is_ahead(process, own, passed, ahead) then return end
      if not a_lease_holds() then shift_clock(-ahead) end
    end
  elseif clock_is_stale() and redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(last), '+inf') > 0 then
    remember_clock(process, int(NOW), int(passed)) -- who was there before can tell, and it itself next time
    return
  end
  if last > NOW + STEP then shift_clock(last - NOW) end
  redis.call('HSET', META, 'clock', int(NOW))
  redis.call('HDEL', META, 'clock_doubt')
  remember_clock(process, int(NOW), int(passed))
end
