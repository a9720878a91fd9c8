-- use: lanes server
-- Lists the lanes of resumed batches in steps. `listing` holds the progress of each batch: a cursor,
-- and the server that it is valid on. Another server, after a failover, starts again.
local listing = {}

-- Takes a step for one of these batches; returns how many lanes were checked, 0 = there is nothing to do. A batch that
-- is held again is skipped until it is resumed.
function listing.go_on(q)
  local progress = q.prefix .. 'listing'
  local next_one = redis.call('HRANDFIELD', progress, 1, 'WITHVALUES')
  local batch = next_one[1]
  if not batch then return 0 end
  local listed_on, cursor = string.match(next_one[2], '^(%w+) (%d+)$')
  if listed_on ~= server.this_server() then cursor = '0' end
  local found = { '0', {} }
  if lanes.runs(q, batch) or lanes.runs(q, batch .. lanes.CANARY) then
    found = redis.call('SSCAN', q.prefix .. 'batch_lanes:' .. batch, cursor, 'COUNT', lanes.LANES_A_STEP)
    lanes.list_lanes_of(q, batch, found[2])
  end
  if found[1] == '0' then
    redis.call('HDEL', progress, batch)
  else
    redis.call('HSET', progress, batch, server.this_server() .. ' ' .. found[1])
  end
  return math.max(1, #found[2])
end

return listing
