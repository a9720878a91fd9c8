-- use: limits capacity paging paused_groups
-- Reads a page of batches, the newest first. ARGV  now_us, after ('' = from the newest, else the last reply's
--       cursor), count
-- Reply { cursor ('' = that was the last page), now_us, capacity, per batch: id, HGETALL, jobs, a paused group
--         that it waits for }
-- A cursor is '<created_us> <id>': batches that come or go meanwhile neither skip nor repeat others.
local BATCHES, count = PREFIX .. 'batches', tonumber(ARGV[3])
expect(BATCHES, 'zset')
local score, after = string.match(ARGV[2], '^(%S+) (%S+)$')
local start = score and redis.call('ZCARD', BATCHES) - entries_before(BATCHES, score, after) or 0
local found = redis.call('ZREVRANGE', BATCHES, start, start + count, 'WITHSCORES')
local reply = { '', int(NOW), capacity() }
for i = 1, math.min(#found, 2 * count), 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = redis.call('HGETALL', batch_key(found[i]))
  reply[#reply + 1] = batch_size(found[i])
  reply[#reply + 1] = paused_group_of(found[i])
end
if #found > 2 * count then reply[1] = found[2 * count] .. ' ' .. found[2 * count - 1] end
return reply
