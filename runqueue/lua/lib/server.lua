-- Whether the Redis server that answers knows every claim that was made. It may have been restarted, or
-- be another one after a failover, from before the last claims: submitting those jobs again would run
-- them twice. A server is known by its run_id; a pooled client reconnects to another without a word.
--
-- One that is not known is trusted at once when every worker had said goodbye before (`rested`) and none
-- remembers otherwise, or when its owner vouches for it (accept_server). Else submissions wait until every
-- process with a lease has sent a heartbeat, or lost its lease: it says the highest claim sequence it saw.
-- If none is higher than this server's, nothing was lost. If one is, or if nobody remembers, the runs since
-- the last tick that it knows are looked through.
local MARGIN = 5500000 -- `tick_at` is half a second ahead, and five seconds are for clocks that differ
local HEARING, LEASE = 7000000, 15000000 -- heartbeats come every 5 s, and half a second after a failed one
local LONGEST_RUN = 7200000000 -- the default of RUNQUEUE_MAX_RUN_SECONDS
local FOR_A_PERSON = 3650 * DAY

local function this_server() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end

local function accept(server)
  redis.call('HSET', META, 'run_id', server)
  redis.call('HDEL', META, 'moved', 'moved_at', 'remembered', 'rested', 'known_until', 'recover_from', 'recover_since')
end

local function hold_for_person(what)
  redis.call('HDEL', META, 'hold_probe')
  redis.call('HSET', META, 'hold_person', '1', 'hold_kind', 'person', 'hold_until', int(NOW + FOR_A_PERSON), 'hold_reason',
    what .. ': check the runs of the last minutes, then `runqueue resume`')
end

-- Claims that this server does not know were made, and may have become runs: recent runs are listed, from
-- the last tick that it does know, and adopted by their markers (see recovered.lua and the reconciler).
-- Without a list call a person has to look.
local function lost_claims(stored, remembered)
  return 'Redis lost claims (' .. int(stored) .. ' of ' .. int(remembered) .. ' known)'
end

local function hold_for_lost(what)
  hold_for_person(what)
  local f = redis.call('HMGET', META, 'known_until', 'tick_at', 'run_id')
  local known = f[1] or (f[3] and f[3] ~= this_server() and f[2])
  -- A server that knows of no time before (an empty one) knows nothing of what may still be running.
  redis.call('HSETNX', META, 'recover_from', int(known and tonumber(known) - MARGIN or NOW - LONGEST_RUN))
  redis.call('HSETNX', META, 'recover_since', int(NOW))
end

local function is_trusted(server)
  local f = redis.call('HMGET', META, 'run_id', 'rested', 'moved', 'moved_at', 'remembered', 'sequence',
    'hold_person')
  if f[1] == server then return true end
  if f[7] then return false end
  if not f[1] or f[2] == '1' then
    accept(server)
    return true
  end
  if f[3] ~= server then
    redis.call('HDEL', META, 'remembered', 'hold_probe')
    redis.call('HSET', META, 'moved', server, 'moved_at', int(NOW), 'hold_until', int(NOW + HEARING),
      'hold_kind', 'redis', 'hold_reason', 'Redis was restarted: its workers are asked what they remember')
    return false
  end
  local since = tonumber(f[4])
  if NOW < since + HEARING then return false end
  -- A lease that ends before this was not renewed since: its process is not heard yet, or dead.
  if redis.call('ZCOUNT', PREFIX .. 'processes', '(' .. int(NOW), '(' .. int(since + LEASE)) > 0 then return false end
  local stored, remembered = tonumber(f[6] or 0), tonumber(f[5] or -1)
  if remembered < 0 then
    hold_for_lost('Redis was restarted, and no worker remembers what it knew')
    return false
  end
  if remembered > stored then
    hold_for_lost(lost_claims(stored, remembered))
    return false
  end
  accept(server)
  return true
end
