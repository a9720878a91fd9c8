-- use: lanes
-- Whether the Redis server that answers knows every claim that was made. It may have been restarted, or be another one
-- after a failover, without the last claims: submitting those jobs again would run them twice. No worker can prove that
-- nothing was lost: the process of the last claims may have died with the server, and its lease may not have been
-- copied. Nor can the data: an older copy is consistent in itself. So after each change of server that its owner does
-- not confirm (accept_server) nothing is submitted until the runs since the last tick that it knows were listed, and
-- adopted by their markers (recovered.lua, and the reconciler).
--
-- A server is identified by its replication id: it makes a new one when it starts, and when it is promoted. It also
-- makes one when it gets its first replica, or has had none for an hour: then it has no second id from a time as a
-- replica, and its run_id is the same. Both are also so if a backup was restored by replication and the second id has
-- expired since: then the last tick is long ago.
-- Fields of meta: run_id, replid (of the server that is known), recover_from (runs since then are listed; absent = no
-- recovery), recover_since (when the change was noticed; absent = the clock is not sure yet), recover_run_id (the
-- server that this began with; absent = there were more since then), remembered (the highest claim sequence that a
-- process saw and this server does not know), recover_why (why the last attempt failed), recover_date (what Skyvern's
-- own clock showed at recover_from, at least; absent = not known; it stays), recover_deaths (1 = a process died since
-- then, or it is not known which there were),
-- date_ahead (by how much Skyvern's clock is ahead of the queue's at least; see clock.lua).
local server = {}
local MARGIN = 5500000 -- `tick_at` is half a second ahead, and five seconds are for clocks that differ
local LONGEST_RUN = 7200000000 -- the default of RUNQUEUE_MAX_RUN_SECONDS
-- How long a recovery usually takes, by how much the estimate is then extended, and when an operator is called.
local TAKES, TAKES_LONGER, TOO_LONG = 80000000, 15000000, 600000000
local FOR_A_PERSON = 3650 * DAY
local JUST_NOW = 60000000

function server.this_server() return string.match(redis.call('INFO', 'server'), 'run_id:(%w+)') end

local function replication() return redis.call('INFO', 'replication') end

local function replication_id(info) return string.match(info, 'master_replid:(%w+)') or '' end

local function is_server_of(q, run_id, replid)
  local info = replication()
  local id = replication_id(info)
  if replid == id and id ~= '' then return true end
  if run_id ~= server.this_server() then return false end
  if id == '' then return true end -- it reports no replication
  if replid and not string.find(info, 'master_replid2:0+%s') then return false end
  if replid and q.now - tonumber(redis.call('HGET', q.meta, 'tick_at') or 0) > JUST_NOW then return false end
  redis.call('HSET', q.meta, 'replid', id)
  return true
end

function server.is_known(q)
  local f = redis.call('HMGET', q.meta, 'run_id', 'replid')
  return is_server_of(q, f[1], f[2])
end

function server.remember_server(q)
  redis.call('HSET', q.meta, 'run_id', server.this_server(), 'replid', replication_id(replication()))
end

function server.accept(q)
  server.remember_server(q)
  redis.call('HDEL', q.meta, 'remembered', 'recover_from', 'recover_since', 'recover_run_id', 'recover_why',
    'recover_deaths')
end

function server.lost_claims(stored, remembered)
  return 'Redis lost claims (' .. int(stored) .. ' of ' .. int(remembered) .. ' known)'
end

-- Only the end of the recovery, or an operator, ends this hold.
function server.hold_for_recovery(q, what)
  redis.call('HDEL', q.meta, 'hold_probe')
  redis.call('HSET', q.meta, 'hold_person', '1', 'hold_kind', 'redis', 'hold_until', int(q.now + TAKES), 'hold_reason',
    what .. ': the runs since then are listed before anything is submitted')
end

-- A request on its way to Skyvern at this time may yet become a run: each further change of server restarts the wait
-- for it, once the clock is sure (see clock.lua).
local function count_from_now(q)
  if clock_is_stale(q) then
    redis.call('HDEL', q.meta, 'recover_since')
  else
    redis.call('HSET', q.meta, 'recover_since', int(q.now))
  end
end

-- A server without a last time (an empty one) does not know which runs are live. If its clock came back behind, it is
-- not known either how long it was away, unless Skyvern's date was known.
function server.begin_recovery(q, what)
  local f = server.is_known(q) and {} or redis.call('HMGET', q.meta, 'tick_at', 'date_ahead')
  local is_far = not f[1] or (q.behind > 0 and not f[2])
  local from = is_far and q.now - LONGEST_RUN or tonumber(f[1]) - MARGIN
  if redis.call('HSETNX', q.meta, 'recover_from', int(from)) == 1 then
    redis.call('HSET', q.meta, 'recover_run_id', server.this_server())
    redis.call('HDEL', q.meta, 'recover_date', 'recover_deaths')
    if not f[1] then redis.call('HSET', q.meta, 'recover_deaths', '1') end
    if f[2] then redis.call('HSET', q.meta, 'recover_date', int(from + tonumber(f[2]))) end
  else
    redis.call('HDEL', q.meta, 'recover_run_id')
  end
  redis.call('HDEL', q.meta, 'recover_why')
  count_from_now(q)
  server.remember_server(q)
  server.hold_for_recovery(q, what)
end

-- Every lost claim is known by now: submissions continue.
function server.end_recovery(q)
  redis.call('HDEL', q.meta, 'hold_until', 'hold_step', 'hold_reason', 'hold_probe', 'hold_person', 'probing',
    'asked_until', 'asked_reason', 'probe')
  server.accept(q)
  lanes.wake(q)
end

function server.call_a_person(q, why)
  local reason = string.match(redis.call('HGET', q.meta, 'hold_reason') or '', '^[^:]*')
  redis.call('HSET', q.meta, 'hold_kind', 'person', 'hold_until', int(q.now + FOR_A_PERSON), 'hold_reason',
    reason .. ': ' .. why .. '; check the runs of the last minutes, then `runqueue resume`')
end

local function keep_recovering(q, since)
  if not since or since > q.now then
    count_from_now(q)
    since = q.now
  end
  local f = redis.call('HMGET', q.meta, 'hold_until', 'hold_kind', 'recover_why')
  local left = tonumber(f[1] or 0) - q.now
  if f[2] == 'person' then return end
  if q.now - since > TOO_LONG then
    server.call_a_person(q, f[3] or 'no worker has listed the runs')
  elseif left < 0 or left > TAKES then
    redis.call('HSET', q.meta, 'hold_until', int(q.now + TAKES_LONGER))
  end
end

function server.is_trusted(q)
  local f = redis.call('HMGET', q.meta, 'run_id', 'replid', 'recover_from', 'recover_since')
  if not f[1] then
    server.accept(q)
  elseif not is_server_of(q, f[1], f[2]) then
    server.begin_recovery(q, 'Redis was restarted, or another server took over')
    return false
  elseif f[3] then
    keep_recovering(q, tonumber(f[4]))
    return false
  end
  return true
end

return server
