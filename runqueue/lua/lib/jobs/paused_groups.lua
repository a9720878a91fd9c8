-- use: lanes
-- Whether jobs of batches wait in paused groups. `paused_lanes` holds '<priority>:<group>' for each priority of these,
-- as `batch_lanes` does for a batch. The reads are bounded, for all batches of a call together.
local paused_groups = {}
function paused_groups.list(q, group, is_paused)
  local places = { '0:' .. group, '1:' .. group, '2:' .. group, '3:' .. group }
  redis.call(is_paused and 'SADD' or 'SREM', q.prefix .. 'paused_lanes', unpack(places))
end

local JOBS = 16

-- Whether a lane holds ready jobs of its batch: canceled ones stay in it until a claim skips them, which none does
-- while the group is paused. Jobs after the first count as ready.
local function is_waited_in(q, batch, lane)
  q.paused_lanes_left = q.paused_lanes_left - 1
  for i, id in ipairs(redis.call('LRANGE', lane, 0, JOBS)) do
    local f = redis.call('HMGET', job_key(q, id), 'state', 'batch')
    if i > JOBS or (f[1] == 'ready' and f[2] == batch) then return true end
  end
  return false
end

-- Returns a paused group with ready or scheduled jobs of a batch; '' = there is none, '?' = there are too many
-- to check. Only the batch of a scheduled job is known here: if groups that the batch ever
-- used are paused, the job counts as in one of them.
local function look(q, batch)
  local most = redis.call('SCARD', q.prefix .. 'paused_lanes')
  if most == 0 then return '' end
  local f = redis.call('HMGET', q.prefix .. 'batch:' .. batch, 'sealed', 'held', 'count:ready', 'count:scheduled')
  local ready, scheduled = tonumber(f[3] or 0), tonumber(f[4] or 0)
  if f[1] ~= '1' or (f[2] and f[2] ~= 'canary') or ready + scheduled == 0 then return '' end
  local places = q.prefix .. 'batch_lanes:' .. batch
  q.paused_names_left = q.paused_names_left - math.min(most, redis.call('SCARD', places))
  if q.paused_names_left < 0 then return '?' end
  for _, place in ipairs(redis.call('SINTER', places, q.prefix .. 'paused_lanes')) do
    local group, lane = string.sub(place, 3), q.prefix .. 'lane:' .. place .. ':' .. batch
    if q.paused_lanes_left <= 0 then return '?' end
    if scheduled > 0 or is_waited_in(q, batch, lane) or is_waited_in(q, batch, lane .. lanes.CANARY) then
      return group
    end
  end
  return ''
end

function paused_groups.of(q, batch)
  local is_read, group = pcall(look, q, batch)
  return is_read and group or '?'
end

return paused_groups
