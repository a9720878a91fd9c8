-- use: limits capacity
-- Reads a page of batches, the newest first. ARGV  now_us, after ('' = from the newest, else the last reply's
--       cursor), count
-- Reply { cursor ('' = that was the last page), now_us, capacity, per batch: id, HGETALL, jobs }
-- A cursor is '<created_us> <id>': batches that come or go meanwhile neither skip nor repeat others.
local BATCHES, count = PREFIX .. 'batches', tonumber(ARGV[3])
expect(BATCHES, 'zset')
local score, after = string.match(ARGV[2], '^(%S+) (%S+)$')
local fresh, offset = {}, 0
repeat
  local found = redis.call('ZREVRANGEBYSCORE', BATCHES, score or '+inf', '-inf', 'WITHSCORES', 'LIMIT', offset, count + 1)
  offset = offset + count + 1
  for i = 1, #found, 2 do
    -- Members of one score stand in the order of their names: those from the cursor's on were shown.
    if not (score and found[i + 1] == score and found[i] >= after) then
      fresh[#fresh + 1] = { id = found[i], at = found[i + 1] }
    end
  end
until #fresh > count or #found < 2 * (count + 1)
local reply = { '', int(NOW), capacity() }
for i = 1, math.min(count, #fresh) do
  local batch = fresh[i].id
  reply[#reply + 1] = batch
  reply[#reply + 1] = redis.call('HGETALL', batch_key(batch))
  reply[#reply + 1] = batch_size(batch)
end
if #fresh > count then reply[1] = fresh[count].at .. ' ' .. fresh[count].id end
return reply
