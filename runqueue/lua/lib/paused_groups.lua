-- Whether jobs of batches wait in paused groups. What is looked at is bounded, for all batches of a call together, however
-- many groups there are.
local paused_group_of
do
  local PAUSED, NAMES_LEFT = PREFIX .. 'paused_groups', 20000
  local JOBS, AT_ONCE = 16, 1000 -- ids of a lane that are looked at, and names that one command asks for
  local paused -- their names, once they are asked for

  -- Those of some names that a set holds.
  local function held_by(set, names)
    local found = {}
    for first = 1, #names, AT_ONCE do
      local are_in = redis.call('SMISMEMBER', set, unpack(names, first, math.min(first + AT_ONCE - 1, #names)))
      for i, is_in in ipairs(are_in) do
        if is_in == 1 then found[#found + 1] = names[first + i - 1] end
      end
    end
    return found
  end

  -- The places ('<priority>:<group>') of a batch's lanes that belong to paused groups; nil = there are too many to look.
  local function paused_places(places)
    local count, of_batch = redis.call('SCARD', PAUSED), redis.call('SCARD', places)
    local cost = math.min(4 * count, of_batch)
    NAMES_LEFT = NAMES_LEFT - cost
    if NAMES_LEFT < 0 then return nil end
    if cost == 0 then return {} end
    local names = {}
    if of_batch > 4 * count then
      paused = paused or redis.call('SMEMBERS', PAUSED)
      for _, group in ipairs(paused) do
        for priority = 0, 3 do names[#names + 1] = priority .. ':' .. group end
      end
      return held_by(places, names)
    end
    local at = {}
    for _, place in ipairs(redis.call('SMEMBERS', places)) do
      local group = string.sub(place, 3)
      if not at[group] then
        at[group] = {}
        names[#names + 1] = group
      end
      table.insert(at[group], place)
    end
    local found = {}
    for _, group in ipairs(held_by(PAUSED, names)) do
      for _, place in ipairs(at[group]) do found[#found + 1] = place end
    end
    return found
  end

  -- Whether a lane holds jobs of its batch that are ready: canceled ones stay in it until a claim meets them, and none
  -- does where the group is paused. Of what lies further back it is believed.
  local function is_waited_in(batch, lane)
    local ids = redis.call('LRANGE', lane, 0, JOBS)
    NAMES_LEFT = NAMES_LEFT - 1 - #ids
    for i, id in ipairs(ids) do
      local f = redis.call('HMGET', job_key(id), 'state', 'batch')
      if i > JOBS or (f[1] == 'ready' and f[2] == batch) then return true end
    end
    return false
  end

  -- Returns a paused group in which jobs of a batch wait, be they ready or scheduled; '' = there is none, '?' = there
  -- are too many to look at. Of a scheduled job only its batch is at hand: if groups that the batch ever used are paused,
  -- it is taken to be of one of them.
  function paused_group_of(batch)
    if redis.call('EXISTS', PAUSED) == 0 then return '' end
    local f = redis.call('HMGET', PREFIX .. 'batch:' .. batch, 'sealed', 'held', 'count:ready', 'count:scheduled')
    local ready, scheduled = tonumber(f[3] or 0), tonumber(f[4] or 0)
    if f[1] ~= '1' or (f[2] and f[2] ~= 'canary') or ready + scheduled == 0 then return '' end
    local found = paused_places(PREFIX .. 'batch_lanes:' .. batch)
    if not found then return '?' end
    for _, place in ipairs(found) do
      if scheduled > 0 then return string.sub(place, 3) end
      if NAMES_LEFT < 0 then return '?' end
      local lane = PREFIX .. 'lane:' .. place .. ':' .. batch
      if is_waited_in(batch, lane) or is_waited_in(batch, lane .. CANARY) then return string.sub(place, 3) end
    end
    return ''
  end
end
