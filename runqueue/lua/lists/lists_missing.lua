-- use: counters
-- Runs that a list of live runs does not show: makes the poll (GET) of each due now, and changes nothing else.
-- ARGV  now_us, began_us (when its reading began), settle_us (runs that joined less than that before it are not
--       expected to be in it), poll_lease_us, then 2 a run: id ('' = an orphan run), run_id
-- Reply per run: 1 = it is polled (or being polled), 2 = it is too new, 0 = it left the lists
local before, soon = tonumber(q.args[2]) - tonumber(q.args[3]), q.now + tonumber(q.args[4])
local POLL, reply, listed, orphans = q.prefix .. 'poll', {}, {}, {}

-- A run that is due, or being polled, is not polled twice.
local function look_now(due, at, member)
  if at and tonumber(at) > soon then
    due[#due + 1] = int(q.now)
    due[#due + 1] = member
  end
end

-- The scores of all jobs given, by their position in the arguments.
local function scores_of(index)
  local ids, scores = {}, {}
  for i = 5, #q.args, 2 do ids[#ids + 1] = q.args[i] end
  for first = 1, #ids, 1000 do
    local last = math.min(first + 999, #ids)
    for n, score in ipairs(redis.call('ZMSCORE', index, unpack(ids, first, last))) do
      scores[2 * (first + n) + 1] = score
    end
  end
  return scores
end
local joined_at, due_at = scores_of(q.prefix .. 'listed'), scores_of(POLL)

local function miss(id, run_id, joined, due)
  if not joined then return 0 end
  local f = redis.call('HMGET', job_key(q, id), 'state', 'run_id')
  if f[1] ~= 'running' then
    counters.remove_later(q, 'listed', id)
    return 0
  end
  if f[2] ~= run_id then return 0 end
  if tonumber(joined) > before then return 2 end
  look_now(listed, due, id)
  return 1
end

local function miss_orphan(run_id)
  local since = string.match(redis.call('HGET', q.prefix .. 'orphans', run_id) or '', '^%S+ %d+ (%d+)')
  local due = redis.call('ZSCORE', q.prefix .. 'orphan_polls', run_id)
  if not since or not due then return 0 end
  if tonumber(since) > before then return 2 end
  look_now(orphans, due, run_id)
  return 1
end

for i = 5, #q.args, 2 do
  local id, run_id = q.args[i], q.args[i + 1]
  reply[#reply + 1] = id == '' and miss_orphan(run_id) or miss(id, run_id, joined_at[i], due_at[i])
end
in_parts('ZADD', POLL, listed)
in_parts('ZADD', q.prefix .. 'orphan_polls', orphans)
return reply
