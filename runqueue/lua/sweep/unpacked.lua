-- use: packed retention
-- Reads ended jobs that are not packed, in the order of their ends, from packing's position.
-- ARGV  now_us, after_us (how long after its end a job is packed), limit (entries to walk), allowed_bytes (of bodies
--       and results in one reply; one job may go beyond)
-- Reply { more (1 = call again), packing's position, its position after these, per job: id, ended_us, body, result
--         ('' = none) }
-- `pack_more` reports more work to the tick. pack.lua writes the position ('<day> <entry>').
-- retire.lua removes entries from a day's front: if nothing was packed for as long as the longest retention, entries of
-- that day may be skipped, and are removed unpacked that day.
local after, limit, bytes_left = tonumber(q.args[2]), tonumber(q.args[3]), tonumber(q.args[4])
if clock_is_stale(q) then
  redis.call('HDEL', q.meta, 'pack_more')
  return { 0, '', '' }
end
local stands = redis.call('HGET', q.meta, 'packed') or ''
local today = math.floor(q.now / DAY)
local oldest = today - math.ceil(retention.read(q).longest / DAY) - 1
local day, at = string.match(stands, '^(%d+) (%d+)$')
day, at = tonumber(day or 0), tonumber(at or 0)
if day < oldest then day, at = oldest, 0 end

local reply, more = { 0, stands, '' }, 0

-- True when the walk continues after it. A job that was submitted again after its end may be in the list twice.
local seen = {}
local function look_at(id)
  if seen[id] then return true end
  local f = redis.call('HMGET', job_key(q, id), 'state', 'ended')
  if not (ENDED[f[1]] and f[2]) then return true end -- submitted again, removed, or an orphan run
  if tonumber(f[2]) > q.now - after then return false end
  local body_key, result_key = q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id
  local size = redis.call('STRLEN', body_key) + redis.call('STRLEN', result_key)
  if #reply > 3 and size > bytes_left then
    more = 1
    return false
  end
  local body, result = redis.call('GET', body_key) or '', redis.call('GET', result_key) or ''
  if body == '' or (packed.is_packed(body, packed.behind_envelope(body))
    and (result == '' or packed.is_packed(result, 1))) then
    return true
  end
  seen[id], bytes_left = true, bytes_left - size
  for _, value in ipairs({ id, f[2], body, result }) do reply[#reply + 1] = value end
  return true
end

local walked, stopped = 0, false
while walked < limit and not stopped do
  local want = limit - walked
  local ids = redis.call('LRANGE', q.prefix .. 'ended:' .. int(day), at, at + want - 1)
  for _, id in ipairs(ids) do
    stopped = not look_at(id)
    if stopped then break end
    walked, at = walked + 1, at + 1
  end
  if not stopped and #ids < want then
    if day >= today then break end
    day, at = day + 1, 0
  end
end
if walked >= limit then more = 1 end
if more == 1 then redis.call('HSET', q.meta, 'pack_more', '1') else redis.call('HDEL', q.meta, 'pack_more') end
reply[1], reply[3] = more, int(day) .. ' ' .. int(at)
return reply
