-- use: limits capacity ready_line waits archive
-- flags: no-writes
-- The account's statistics. ARGV  now_us
-- Reply names and values: now; counters, limits and meta (each as HGETALL); oldest_ready (us, 0 none); processes (alive);
--       orphans (orphan runs) and orphans_live (those that take a slot); pace (submissions a second while a 429 slows
--       them down, '' else) and full_pace (by the limits alone, 0 no limit); permitted (submissions and calls permitted
--       now, -1 no limit); capacity; in_line (jobs by priority, 0 to 3); claimable (those that a claim might take now);
--       refused_lines; long_queued (runs still queued at Skyvern, long_queued.lua); paused_runs (that wait for a person);
--       quarantined (how many, changes.lua, and the first ten); waits_for (why nothing is submitted,
--       waits.lua); waited_for (keys, groups and batches at whose limits or budgets jobs wait); jobs_wait_for (what jobs
--       wait for where none is in line: ready ones, and those deferred for a budget); archive (archive.lua; empty = there is
--       none)
-- The line is walked in at most 128 lanes: the cost does not grow with the number of jobs, groups or batches.
local LANES = 128
local limit = limits.read(q)
local function permitted(name, rate)
  if rate == 0 then return -1 end
  return limits.room_now(q, rate, limit.burst, (limits.owed_until(q, name, limits.interval_of(rate), limit.burst)))
end

-- An unreadable record is skipped, as in a claim.
local function ready_since(lane, at)
  local f = redis.pcall('HMGET', job_key(q, redis.call('LINDEX', lane, at) or ''), 'state', 'created', 'ready_at')
  return f[1] == 'ready' and tonumber(f[3] or f[2])
end

-- Since when the first ready job of a lane has waited; false = none was found. Canceled jobs before it are skipped in
-- steps that double, and then halve on the way back: ten thousand cost some thirty of a priority's reads.
local looks = { 32, 32, 32, 32 }
local function waits_since(priority, lane)
  local since = ready_since(lane, 0)
  if since then return since end
  local left, dead, last = looks[priority + 1], 0, redis.call('LLEN', lane) - 1
  local at, step = 0, 1
  while not since and left > 0 and dead < last do
    at, step, left = math.min(dead + step, last), step * 2, left - 1
    since = ready_since(lane, at)
    if not since then dead = at end
  end
  while since and left > 0 and at - dead > 1 do
    local middle = math.floor((dead + at) / 2)
    local earlier = ready_since(lane, middle)
    left = left - 1
    if earlier then at, since = middle, earlier else dead = middle end
  end
  looks[priority + 1] = left
  return since
end

local oldest, claimable, in_line = 0, 0, { 0, 0, 0, 0 }
ready_line.walk(q, LANES, function(priority, lane, n, group)
  local may_go = math.min(n, group.room)
  group.room, claimable = group.room - may_go, claimable + may_go
  in_line[priority + 1] = in_line[priority + 1] + n
  local since = waits_since(priority, lane)
  if since and (oldest == 0 or since < oldest) then oldest = since end
end)
local is_any_in_line = in_line[1] + in_line[2] + in_line[3] + in_line[4] > 0
local is_any_ready = false
for _, n in ipairs(redis.call('HMGET', q.prefix .. 'counters', 'ready:0', 'ready:1', 'ready:2', 'ready:3')) do
  is_any_ready = is_any_ready or tonumber(n or 0) > 0
end
-- Anyone may write to the inbox's keys: a wrong type there hides no other count.
local refused = redis.pcall('LLEN', q.prefix .. 'inbox:invalid')
return {
  'now', int(q.now), 'counters', redis.call('HGETALL', q.prefix .. 'counters'),
  'limits', redis.call('HGETALL', q.prefix .. 'limits'), 'meta', redis.call('HGETALL', q.meta),
  'oldest_ready', int(oldest), 'processes', redis.call('ZCOUNT', q.prefix .. 'processes', '(' .. int(q.now), '+inf'),
  'orphans', redis.call('HLEN', q.prefix .. 'orphans'), 'orphans_live', redis.call('ZCARD', q.prefix .. 'orphan_polls'),
  'pace', limit.submissions ~= limit.full_submissions and string.format('%.3f', limit.submissions) or '',
  'full_pace', string.format('%.6f', limit.full_submissions),
  'permitted', { permitted('submission', limit.submissions), permitted('request', limit.requests_per_second) },
  'capacity', capacity.read(q), 'in_line', in_line, 'claimable', claimable,
  'refused_lines', type(refused) == 'number' and refused or 0,
  'long_queued', redis.call('ZCARD', q.prefix .. 'long_queued'), 'paused_runs', redis.call('ZCARD', q.prefix .. 'paused'),
  'quarantined', { redis.call('ZCARD', q.prefix .. 'quarantined'),
    unpack(redis.call('ZRANGE', q.prefix .. 'quarantined', 0, 9)) },
  'waits_for', waits.of_account(q),
  'waited_for', redis.call('ZCARD', q.prefix .. 'held_keys') + redis.call('ZCARD', q.prefix .. 'held_budgets'),
  'archive', archive.state(q), 'jobs_wait_for', not is_any_in_line and waits.of_waiting(q, is_any_ready) or {},
}
