-- The server's clock may be set. Back, it would put every lease, poll and deadline off by as much; ahead, it
-- would end what has time yet. Each process tells with its ticks and heartbeats how far its own clock went
-- (which counts seconds since the machine started, and is never set); what the server's clock went otherwise
-- is made up for in `clock_lost`, which every script adds. Two seconds are not worth it.
--
-- A step back shows at once. A step ahead is believed when the same process sees it twice: a report that was
-- on its way while the server stood still (a paused machine) looks the same the first time, and not the second.
-- Until then the clock that was last believed (`clock`) stays, and what decides by time waits.
local STEP = 2000000

local function shift_clock(shift)
  redis.call('HINCRBY', META, 'clock_lost', int(shift))
  NOW = NOW + shift
  bump(totals, 'clock_steps', 1)
  save()
end

local function remember_clock(process, then_us, passed, ahead)
  if not redis.call('ZSCORE', PREFIX .. 'processes', process) then return end
  redis.call('HSET', PREFIX .. 'clocks', process, table.concat({ then_us, passed, ahead }, ' '))
end

local function set_clock(process, passed)
  local last = tonumber(redis.call('HGET', META, 'clock') or 0)
  local own = redis.call('HGET', PREFIX .. 'clocks', process)
  if own then
    local then_us, then_passed, seen = string.match(own, '^(%d+) (%d+) ?(%d*)$')
    local ahead = NOW - (tonumber(then_us) + passed - tonumber(then_passed))
    if -ahead > STEP then
      shift_clock(math.max(-ahead, last - NOW))
    -- A process whose machine slept counted too few seconds: then the leases of the others hold. If none
    -- does, it is the clock that went ahead.
    elseif ahead > STEP
      and redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '+inf') == 0 then
      if seen == '' or math.abs(ahead - tonumber(seen)) > STEP then
        remember_clock(process, then_us, then_passed, int(ahead))
        return
      end
      shift_clock(-ahead)
    end
  elseif clock_is_stale() and redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(last), '+inf') > 0 then
    remember_clock(process, int(NOW), int(passed)) -- who was there before can tell, and it itself next time
    return
  end
  if last > NOW + STEP then shift_clock(last - NOW) end
  redis.call('HSET', META, 'clock', int(NOW))
  remember_clock(process, int(NOW), int(passed))
end
