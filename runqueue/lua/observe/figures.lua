-- use: lanes batches
-- flags: no-writes
-- Statistics for monitoring beside stats.lua. Writes nothing, and reads at most so many groups and batches.
-- ARGV  now_us, groups to name, batches to read
-- Reply names and values: oldest and newest (heartbeats of processes whose lease holds, in microseconds ago, -1 = no
--         process), ticked (since the last tick, -1 = none ever), ready and live (in all), inbox ({ waiting, taken,
--         refused }), groups ({ group, load (ready + live), live, ... the busiest first }), batches ({ sealed, held,
--         finished (1 | ''), open jobs, ended jobs, ... the newest first }), keys (for which jobs wait), key_wait (for how
--         long the first job of those that wait for 100 of these, in microseconds, 0 = none waits), schedules ({ active,
--         paused }), schedule_late (for how long the most overdue one has waited for a worker, in microseconds)
local LEASE, TICK, MOST_KEYS = 15000000, 500000, 100
local groups, most_batches = tonumber(q.args[2]), tonumber(q.args[3])

local function beat_at(command, from, to)
  local deadline = redis.call(command, q.prefix .. 'processes', from, to, 'WITHSCORES', 'LIMIT', 0, 1)[2]
  return deadline and int(math.max(0, q.now + LEASE - tonumber(deadline))) or '-1'
end
local alive = '(' .. int(q.now)
local tick_at = redis.call('HGET', q.meta, 'tick_at')
local ticked = tick_at and int(math.max(0, q.now + TICK - tonumber(tick_at))) or '-1'

local ready = 0
local counts = redis.call('HMGET', q.prefix .. 'counters', 'ready:0', 'ready:1', 'ready:2', 'ready:3', 'live')
for i = 1, 4 do ready = ready + tonumber(counts[i] or 0) end

local busiest = {}
local loads = redis.call('ZREVRANGE', q.prefix .. 'busy', 0, groups - 1, 'WITHSCORES')
for i = 1, #loads, 2 do
  local live = redis.call('HGET', lanes.group_key(q, loads[i]), 'live') or '0'
  for _, value in ipairs({ loads[i], int(tonumber(loads[i + 1])), live }) do busiest[#busiest + 1] = value end
end

local newest = {}
for _, batch in ipairs(redis.call('ZREVRANGE', q.prefix .. 'batches', 0, most_batches - 1)) do
  local read = batches.read(q, batch)
  for _, value in ipairs({ read.sealed or '', read.held or '', read.finished_at and '1' or '',
    int(read.open), int(read.ended) }) do
    newest[#newest + 1] = value
  end
end

local HELD_KEYS, first_since = q.prefix .. 'held_keys', 0
local function since_at(key)
  local lane = redis.call('ZRANGE', q.prefix .. 'key_waits:' .. key, 0, 0)[1]
  local id = lane and redis.call('LINDEX', q.prefix .. 'lane:' .. lane, 0)
  local f = id and redis.call('HMGET', job_key(q, id), 'ready_at', 'created') or {}
  return tonumber(f[1] or f[2] or 0)
end
for _, key in ipairs(redis.call('ZRANGE', HELD_KEYS, 0, MOST_KEYS - 1)) do
  local since = since_at(key)
  if since > 0 and (first_since == 0 or since < first_since) then first_since = since end
end

local SCHEDULES, scheduled = q.prefix .. 'schedules', { 0, 0 }
for _, name in ipairs(redis.call('ZRANGE', SCHEDULES, 0, -1)) do
  local at = (redis.call('HGET', q.prefix .. 'schedule:' .. name, 'paused') or '') == '' and 1 or 2
  scheduled[at] = scheduled[at] + 1
end
local due_at = tonumber(redis.call('ZRANGE', SCHEDULES, 0, 0, 'WITHSCORES')[2] or q.now)

local inbox = {}
for _, part in ipairs({ { 'LLEN', 'inbox' }, { 'HLEN', 'inbox:taken' }, { 'LLEN', 'inbox:invalid' } }) do
  -- Anyone may write to the inbox: a wrong type there hides no other count.
  local n = redis.pcall(part[1], q.prefix .. part[2])
  inbox[#inbox + 1] = type(n) == 'number' and n or 0
end
return {
  'oldest', beat_at('ZRANGEBYSCORE', alive, '+inf'), 'newest', beat_at('ZREVRANGEBYSCORE', '+inf', alive),
  'ticked', ticked, 'ready', ready, 'live', tonumber(counts[5] or 0), 'inbox', inbox, 'groups', busiest,
  'batches', newest, 'keys', redis.call('ZCARD', HELD_KEYS),
  'schedules', scheduled, 'schedule_late', int(math.max(0, q.now - due_at)),
  'key_wait', int(first_since > 0 and math.max(0, q.now - first_since) or 0),
}
