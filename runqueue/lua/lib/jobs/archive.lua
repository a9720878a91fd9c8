-- How far an account's archive is. Without one there are none of its keys, and jobs lie and go as they always do.
-- The hash `archive` has: id; lease ('<until> <process>'); host ('<last use> <host>', of SQLite); trouble
-- ('<when> <process> <words>'); new_errors ('<id>:<jobs> …'); at: archiving's position in the lists of ends,
-- '<day> <entries> <pops>'; dropped: the key in the archive up to which Redis has dropped what is there. Entries that
-- retire.lua pops count off the entries, and on the pops: what was read before that is not recorded.
-- `archive_again` has jobs of which more may come, by when they are read again; `archive_aside` those that the database
-- cannot store, and why.
local archive = {}
-- For so long beyond its retention a job waits that is not archived.
local MOST_WAIT = 30 * DAY

function archive.key(q) return q.prefix .. 'archive' end

function archive.position(text)
  local day, at, pops = string.match(text or '', '^(%d+) (%d+) (%d+)$')
  return { day = tonumber(day or 0), at = tonumber(at or 0), pops = tonumber(pops or 0) }
end

function archive.text(position) return int(position.day) .. ' ' .. int(position.at) .. ' ' .. int(position.pops) end

-- The day of the oldest list that may be there.
function archive.oldest_day(q, longest)
  return math.max(tonumber(redis.call('HGET', q.meta, 'retired_day') or 0),
    math.floor((q.now - longest - MOST_WAIT) / DAY) - 1)
end

-- True if the process has the lease now.
function archive.take_lease(q, process, lease)
  local until_us, holder = string.match(redis.call('HGET', archive.key(q), 'lease') or '', '^(%d+) (.*)$')
  until_us = tonumber(until_us or 0)
  if holder ~= process and until_us > q.now and until_us <= q.now + lease then return false end
  redis.call('HSET', archive.key(q), 'lease', int(q.now + lease) .. ' ' .. process)
  return true
end

function archive.has_lease(q, process)
  return string.match(redis.call('HGET', archive.key(q), 'lease') or '', '^%d+ (.*)$') == process
end

-- What an operator changes of an ended job has to reach the archive.
function archive.read_again(q, id)
  if redis.call('HEXISTS', archive.key(q), 'id') == 1 then redis.call('ZADD', q.prefix .. 'archive_again', int(q.now), id) end
end

-- Archiving's position, for retention; nil without an archive, and with one that was never reached.
function archive.reached(q)
  local f = redis.call('HMGET', archive.key(q), 'id', 'at')
  return f[1] and archive.position(f[2]) or nil
end

-- True for an entry that archiving has not come to.
function archive.lacks(position, day, index)
  return position ~= nil and (day > position.day or (day == position.day and index >= position.at))
end

-- True while retention waits for such an entry.
function archive.keeps(q, position, day, index, duration)
  return archive.lacks(position, day, index) and (day + 1) * DAY > q.now - duration - MOST_WAIT
end

-- The first entry of a day's list was popped.
function archive.popped(q, position, day)
  if not position or position.day ~= day then return end
  position.at, position.pops = math.max(0, position.at - 1), position.pops + 1
  redis.call('HSET', archive.key(q), 'at', archive.text(position))
end

-- A job is removed; `is_lost` = the archive lacks it.
function archive.forget(q, id, is_lost)
  redis.call('ZREM', q.prefix .. 'archive_again', id)
  local is_aside = redis.call('HDEL', q.prefix .. 'archive_aside', id) == 1
  return is_lost or is_aside
end

-- For statistics: the hash, entries of the lists that are not archived, since when the first of them has waited (0 =
-- none does), jobs that cannot be stored; nothing without an archive.
local LOOKS = 20
function archive.state(q)
  local fields = redis.call('HGETALL', archive.key(q))
  if #fields == 0 then return {} end
  local at = archive.position(redis.call('HGET', archive.key(q), 'at'))
  local waiting, since, today = 0, 0, math.floor(q.now / DAY)
  for day = math.max(at.day, today - 400), today do
    local list, first = q.prefix .. 'ended:' .. int(day), day == at.day and at.at or 0
    waiting = waiting + math.max(0, redis.call('LLEN', list) - first)
    if waiting > 0 and since == 0 then
      for _, id in ipairs(redis.call('LRANGE', list, first, first + LOOKS - 1)) do
        local f = redis.pcall('HMGET', job_key(q, id), 'state', 'ended')
        if ENDED[f[1] or ''] and since == 0 then since = tonumber(f[2] or 0) end
      end
    end
  end
  return { fields, waiting, int(since), redis.call('HLEN', q.prefix .. 'archive_aside') }
end

return archive
