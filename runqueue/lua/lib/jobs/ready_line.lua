-- use: lanes
-- The line: ready jobs in lanes that claims take from, of groups that are neither paused nor at their cap.
-- Canceled jobs stay in their lanes until a claim skips them: no more are counted than group and priority have ready.
local ready_line = {}

-- Groups of a ring with the jobs that may still be counted of each: `ready` ones (without settings as many as are ready
-- or live, which saves a read), and how many of these may have a slot, `room`.
local function groups_of(q, ring, most)
  local groups = redis.call('ZRANGE', ring, 0, most - 1)
  if #groups == 0 then return groups end
  local loads = redis.call('ZMSCORE', q.prefix .. 'busy', unpack(groups))
  local is_set = redis.call('SMISMEMBER', q.prefix .. 'groups', unpack(groups))
  for i, group in ipairs(groups) do
    if not q.groups_in_line[group] then
      local now = { ready = tonumber(loads[i] or 0), room = math.huge }
      if is_set[i] == 1 then
        local g = redis.call('HMGET', lanes.group_key(q, group), 'max_concurrent', 'live', 'paused')
        local most, live = tonumber(g[1] or 0), tonumber(g[2] or 0)
        now.ready = now.ready - live
        now.room = g[3] and 0 or most > 0 and most - live or math.huge
      end
      q.groups_in_line[group] = now
    end
  end
  return groups
end

-- Walks at most `share` lanes of a priority; returns how many. A group without claimable jobs counts as one lane.
local function walk_ring(q, priority, share, visit)
  local ready, walked = tonumber(redis.call('HGET', q.prefix .. 'counters', 'ready:' .. priority) or 0), 0
  for _, group in ipairs(groups_of(q, q.prefix .. 'ring:' .. priority, share)) do
    if walked >= share then break end
    local now, names = q.groups_in_line[group], {}
    if now.room > 0 then names = redis.call('LRANGE', lanes.list_key(q, priority, group), 0, share - walked - 1) end
    walked = walked + math.max(1, #names)
    for _, lane in ipairs(names) do
      if lanes.runs(q, lane) then
        local key = lanes.key(q, priority, group, lane)
        local n = math.min(redis.call('LLEN', key), now.ready, ready)
        if n > 0 then
          now.ready, ready = now.ready - n, ready - n
          visit(priority, key, n, now)
        end
      end
    end
  end
  return walked
end

-- Calls back with each lane of the line: priority, the lane's key, how many of its jobs may be ready, its group. Walks
-- `most` lanes; each priority has a share, so that no other hides it; the next one gets what it does not need.
function ready_line.walk(q, most, visit)
  local priorities = {}
  for priority = 0, 3 do
    if redis.call('EXISTS', q.prefix .. 'ring:' .. priority) == 1 then priorities[#priorities + 1] = priority end
  end
  for i, priority in ipairs(priorities) do
    most = most - walk_ring(q, priority, math.floor(most / (#priorities - i + 1)), visit)
  end
end

return ready_line
