-- use: lanes server
-- Lists the lanes of resumed batches in steps (needs server.lua). `listing` holds the progress of each batch: a cursor,
-- and the server that it is valid on. Another server, after a failover, starts again.

-- Takes a step for one of these batches; returns how many lanes were checked, 0 = there is nothing to do. A batch that
-- is held again is skipped until it is resumed.
local function list_more_lanes()
  local listing = PREFIX .. 'listing'
  local next_one = redis.call('HRANDFIELD', listing, 1, 'WITHVALUES')
  local batch = next_one[1]
  if not batch then return 0 end
  local server, cursor = string.match(next_one[2], '^(%w+) (%d+)$')
  if server ~= this_server() then cursor = '0' end
  local found = { '0', {} }
  if lane_runs(batch) or lane_runs(batch .. CANARY) then
    found = redis.call('SSCAN', PREFIX .. 'batch_lanes:' .. batch, cursor, 'COUNT', LANES_A_STEP)
    list_lanes_of(batch, found[2])
  end
  if found[1] == '0' then
    redis.call('HDEL', listing, batch)
  else
    redis.call('HSET', listing, batch, this_server() .. ' ' .. found[1])
  end
  return math.max(1, #found[2])
end
