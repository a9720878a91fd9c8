-- The server's clock may be set. Back, it would put every lease, poll and deadline off by as much; ahead, it
-- would end what has time yet. Each process tells with its ticks and heartbeats how far its own clock went (which counts
-- seconds since the machine started, and is never set); what the server's clock went otherwise is made up for
-- in `clock_lost`, which every script adds. Two seconds are not worth it.
local STEP = 2000000

local function set_clock(process, passed)
  local last = tonumber(redis.call('HGET', META, 'clock') or 0)
  local own = redis.call('HGET', PREFIX .. 'clocks', process)
  local shift = 0
  if last > NOW + STEP then shift = last - NOW end
  if own then
    local then_us, then_passed = string.match(own, '^(%d+) (%d+)$')
    local expected = tonumber(then_us) + passed - tonumber(then_passed)
    if shift > 0 then
      shift = math.max(shift, expected - NOW)
    -- A process whose machine slept counted too few seconds: then the leases of the others hold. If none
    -- does, it is the clock that went ahead.
    elseif NOW > expected + STEP
      and redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '+inf') == 0 then
      shift = expected - NOW
    end
  end
  if shift ~= 0 then
    redis.call('HINCRBY', META, 'clock_lost', int(shift))
    NOW = NOW + shift
    bump(totals, 'clock_steps', 1)
    save()
  end
  redis.call('HSET', META, 'clock', int(NOW))
  if redis.call('ZSCORE', PREFIX .. 'processes', process) then
    redis.call('HSET', PREFIX .. 'clocks', process, int(NOW) .. ' ' .. int(passed))
  end
end
