-- Removes records whose retention is over: the record, its body, its result, its run's entry.
-- ARGV  now_us, keep_us, limit.   Reply: how many list entries were looked at (the limit = ask again)
-- An entry removes its job only if that is over and its end is due: a replayed job has a later entry.
pass_when_full()
local keep, limit = tonumber(ARGV[2]), tonumber(ARGV[3])
local day, looked = math.floor((NOW - keep) / DAY), 0
local first = tonumber(redis.call('HGET', META, 'retired_day') or day - 400)
while looked < limit and first <= day do
  local list = PREFIX .. 'ended:' .. int(first)
  expect(list, 'list')
  local id = redis.call('LINDEX', list, 0)
  if not id then
    if first == day then break end
    first = first + 1
    redis.call('HSET', META, 'retired_day', int(first))
  else
    local f = redis.call('HMGET', job_key(id), 'state', 'ended', 'run_id', 'batch', 'priority')
    local over = f[1] and ENDED[f[1]]
    -- Entries stand in the order of the ends: the first that is not due ends the walk.
    if over and tonumber(f[2]) > NOW - keep and math.floor(tonumber(f[2]) / DAY) == first then break end
    redis.call('LPOP', list)
    looked = looked + 1
    if over and tonumber(f[2]) <= NOW - keep then
      redis.call('DEL', job_key(id), PREFIX .. 'body:' .. id, PREFIX .. 'result:' .. id)
      bump(totals, f[1] .. ':' .. (f[5] or '2'), -1)
      redis.call('HDEL', PREFIX .. 'stray_jobs', id)
      if f[3] then
        redis.call('HDEL', PREFIX .. 'runs:' .. string.sub(redis.sha1hex(f[3]), 1, 4), f[3])
      end
      if f[4] and redis.call('HINCRBY', PREFIX .. 'batch:' .. f[4], 'retired', 1)
        >= batch_size(f[4]) then
        drop_lanes(f[4])
        redis.call('DEL', PREFIX .. 'batch:' .. f[4], PREFIX .. 'batch_jobs:' .. f[4],
          PREFIX .. 'batch_lanes:' .. f[4])
        redis.call('ZREM', PREFIX .. 'batches', f[4])
      end
    end
  end
end
save()
return looked
