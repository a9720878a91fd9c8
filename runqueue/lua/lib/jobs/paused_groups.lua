-- use: lanes
-- Whether jobs of batches wait in paused groups. `paused_lanes` holds '<priority>:<group>' for each priority of these,
-- as `batch_lanes` does for a batch. The reads are bounded, for all batches of a call together.
local PAUSED_LANES = PREFIX .. 'paused_lanes'
local function list_paused(group, is_paused)
  local places = { '0:' .. group, '1:' .. group, '2:' .. group, '3:' .. group }
  redis.call(is_paused and 'SADD' or 'SREM', PAUSED_LANES, unpack(places))
end

local paused_group_of
do
  local JOBS = 16
  local names_left, lanes_left = 20000, 200 -- names compared, and lanes read

  -- Whether a lane holds ready jobs of its batch: canceled ones stay in it until a claim skips them, which none does
  -- while the group is paused. Jobs after the first count as ready.
  local function is_waited_in(batch, lane)
    lanes_left = lanes_left - 1
    for i, id in ipairs(redis.call('LRANGE', lane, 0, JOBS)) do
      local f = redis.call('HMGET', job_key(id), 'state', 'batch')
      if i > JOBS or (f[1] == 'ready' and f[2] == batch) then return true end
    end
    return false
  end

  -- Returns a paused group with ready or scheduled jobs of a batch; '' = there is none, '?' = there are too many
  -- to check, or the keys are damaged. Only the batch of a scheduled job is known here: if groups that the batch ever
  -- used are paused, the job counts as in one of them.
  local function look(batch)
    local most = redis.call('SCARD', PAUSED_LANES)
    if most == 0 then return '' end
    local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch, 'sealed', 'held', 'count:ready', 'count:scheduled')
    local ready, scheduled = tonumber(f[3] or 0), tonumber(f[4] or 0)
    if f[1] ~= '1' or (f[2] and f[2] ~= 'canary') or ready + scheduled == 0 then return '' end
    local places = PREFIX .. 'batch_lanes:' .. batch
    names_left = names_left - math.min(most, redis.call('SCARD', places))
    if names_left < 0 then return '?' end
    for _, place in ipairs(redis.call('SINTER', places, PAUSED_LANES)) do
      local group, lane = string.sub(place, 3), PREFIX .. 'lane:' .. place .. ':' .. batch
      if lanes_left <= 0 then return '?' end
      if scheduled > 0 or is_waited_in(batch, lane) or is_waited_in(batch, lane .. CANARY) then
        return group
      end
    end
    return ''
  end

  function paused_group_of(batch)
    local is_read, group = pcall(look, batch)
    return is_read and group or '?'
  end
end
