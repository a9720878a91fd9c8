-- use: archive job_record retention
-- Drops the bodies, results and signed webhooks of jobs that the archive has, and reads which come next.
-- ARGV  now_us, process, after_us (how long after its end), limit (entries), position of these, position after them ('' =
--       as it is), then 2 a job that the archive has: id, ended_us
-- Reply { more (1 = call again), position, position after these, per job: id, ended_us }
-- The walk stays behind archiving. A job is left that is to be read again, or waits for its webhook: it is dropped when its
-- record is final.
local AHEAD = 20

local function is_due(q, f) return ENDED[f[1] or ''] and f[2] and not f[3] and f[4] ~= 'pending' end

local function read(q, id)
  return redis.call('HMGET', job_key(q, id), 'state', 'ended', 'archived', 'delivery')
end

local function drop(q, id, ended)
  local f = read(q, id)
  if not is_due(q, f) or f[2] ~= ended or redis.call('ZSCORE', q.prefix .. 'archive_again', id) then return end
  job_record.leave_to_archive(q, id)
end

-- Where a job that ended lately has its entry cannot be seen: it may have an earlier one, of an end before. The walk ends
-- there unless a few entries further on there is a job that ended before.
local function walk(q, reply, position, after, limit)
  local at, walked, ahead = archive.position(redis.call('HGET', archive.key(q), 'at')), 0, 0
  while walked < limit and position.day <= at.day do
    local want, first = limit - walked, position.at
    if position.day == at.day then want = math.max(0, math.min(want, at.at - first)) end
    local ids = want > 0 and redis.call('LRANGE', q.prefix .. 'ended:' .. int(position.day), first, first + want - 1) or {}
    for i, id in ipairs(ids) do
      local f = read(q, id)
      local ended = ENDED[f[1] or ''] and tonumber(f[2]) or 0
      walked = walked + 1
      if ended > q.now - after then
        ahead = ahead + 1
        if ahead > AHEAD then return end
      else
        if is_due(q, f) then
          ahead = 0
          reply[#reply + 1] = id
          reply[#reply + 1] = f[2]
        end
        if ahead == 0 then position.at = first + i end
      end
    end
    if walked < limit then
      if ahead > 0 or position.day == at.day then return end
      position.day, position.at, position.pops = position.day + 1, 0, 0
    end
  end
  if ahead == 0 then reply[1] = 1 end
end

local function body(q)
  local key, reply = archive.key(q), { 0, '', '' }
  if not archive.has_lease(q, q.args[2]) or clock_is_stale(q) then return reply end
  for i = 7, #q.args, 2 do drop(q, q.args[i], q.args[i + 1]) end
  local stands = redis.call('HGET', key, 'dropped') or ''
  if q.args[6] ~= '' and stands == q.args[5] then
    stands = q.args[6]
    redis.call('HSET', key, 'dropped', stands)
  end
  local position = archive.from_oldest(q, archive.position(stands), retention.read(q).longest)
  walk(q, reply, position, tonumber(q.args[3]), tonumber(q.args[4]))
  reply[2], reply[3] = stands, archive.text(position)
  return reply
end
