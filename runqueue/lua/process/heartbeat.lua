-- use: server clock
-- Renews a process's lease, or begins it under a new name, and compares the claim sequences of both sides.
-- ARGV  now_us, process, lease_us, first (1 = a new name), sequence (the highest that the process saw; -1 =
--       it saw none yet: a process that has just begun remembers nothing), passed_us (see clock.lua), how long ago a
--       read of it was answered, since when all of its reads fail (µs, -1 not at all), and the error, date_us (what
--       Skyvern's own clock shows at least; '' = not known)
-- Reply: the claim sequence = the lease holds until now + lease_us; -2 = it holds, but this is a server that
--       is not trusted (yet), whose sequence is ignored; -1 = refused: the name's lease was lost
--       (its claims are unconfirmed already), the process drops what it has not sent and takes a new name.
local PROCESSES, process = q.prefix .. 'processes', q.args[2]
-- Before the lease is written: a lease at the time that the clock jumped to would hide the jump. While the jump is not
-- sure, the lease counts from the time that was last believed.
local from = q.now
if q.may_be_set then
  clock.set_clock(q, process, tonumber(q.args[6]))
  local is_uncertain = q.args[4] ~= '1' or redis.call('HEXISTS', q.meta, 'clock_ahead') == 1
  if clock_is_stale(q) and is_uncertain then from = q.believed end
end

local is_safe = server.is_trusted(q)
local sequence = tonumber(q.args[5])
local f = redis.call('HMGET', q.meta, 'sequence', 'remembered', 'hold_kind', 'recover_from', 'begun')
local stored = tonumber(f[1] or 0)
-- Field of meta: begun (when the first lease did). If a lease is renewed where none ever began, all data was lost, and
-- the process of the last claims may report them later than others make theirs.
if q.args[4] == '1' then
  redis.call('HSETNX', q.meta, 'begun', int(q.now))
elseif not f[5] and not f[4] then
  server.begin_recovery(q, 'Redis lost what it knew')
  is_safe, f[3], f[4] = false, 'redis', true
end
if sequence > stored and sequence > tonumber(f[2] or -1) then
  redis.call('HSET', q.meta, 'remembered', int(sequence))
  if not f[4] then
    server.begin_recovery(q, server.lost_claims(stored, sequence))
  elseif f[3] == 'redis' then
    server.hold_for_recovery(q, server.lost_claims(stored, sequence))
  end
end

local deadline = redis.call('ZSCORE', PROCESSES, process)
if q.args[4] ~= '1' and (not deadline or (tonumber(deadline) <= q.now and not clock_is_stale(q))) then
  redis.call('HINCRBY', q.prefix .. 'counters', 'fenced:heartbeat', 1)
  return -1
end
redis.call('ZADD', PROCESSES, int(from + tonumber(q.args[3])), process)

-- Reads fail from the last answer to any process on: a process that alone cannot read is reported only while the
-- others read nothing.
-- Fields of meta: reads_ok (the last answer), reads_failing (since when), reads_failed (last reported), reads_why.
local answered, failing = tonumber(q.args[7]), tonumber(q.args[8])
local reads = redis.call('HMGET', q.meta, 'reads_ok', 'reads_failing')
local last = tonumber(reads[1] or 0)
if answered >= 0 and q.now - answered > last then
  last = q.now - answered
  redis.call('HSET', q.meta, 'reads_ok', int(last))
end
if reads[2] and last > tonumber(reads[2]) then
  redis.call('HDEL', q.meta, 'reads_failing', 'reads_failed', 'reads_why')
end
if failing >= 0 then
  redis.call('HSETNX', q.meta, 'reads_failing', int(math.max(q.now - failing, last)))
  redis.call('HSET', q.meta, 'reads_failed', int(q.now), 'reads_why', q.args[9])
end
clock.note_date(q, q.args[10])
-- A sequence stored by an older server must not come back to it as a process's memory.
return is_safe and stored or -2
