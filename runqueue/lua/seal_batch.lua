-- Accepts a batch: its lanes join the ring, its jobs count as accepted from here on.
-- ARGV  now_us, batch.   Reply: how many jobs it holds, -1 = no such batch
local batch = ARGV[2]
local key = PREFIX .. 'batch:' .. batch
local sealed = redis.call('HGET', key, 'sealed')
if not sealed then return -1 end
if sealed == '0' then
  redis.call('HSET', key, 'sealed', '1', 'sealed_at', int(NOW))
  -- An empty batch has no job to retire with: it goes with the uploads that were never finished.
  if batch_size(batch) > 0 then redis.call('ZREM', PREFIX .. 'unsealed', batch) end
  if batch_runs(batch) then
    for _, lane in ipairs(redis.call('SMEMBERS', PREFIX .. 'batch_lanes:' .. batch)) do
      local priority, group = string.match(lane, '^(%d):(.*)$')
      if redis.call('EXISTS', lane_key(priority, group, batch)) == 1 then
        list_lane(priority, group, batch, false)
      end
    end
    if anything_ready() then wake() end
  end
end
return batch_size(batch)
