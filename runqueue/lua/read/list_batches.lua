-- use: batches paging waits
-- flags: no-writes
-- Reads a page of batches, the newest first. ARGV  now_us, after ('' = from the newest, else the last reply's
--       cursor), count
-- Reply { cursor ('' = that was the last page), now_us, per batch: id, HGETALL (one text,
--       its error, if it cannot be read), jobs, what its jobs wait for (waits.lua) }
-- A cursor is '<created_us> <id>': batches that come or go meanwhile neither skip nor repeat others.
local BATCHES, count = q.prefix .. 'batches', tonumber(q.args[3])
local score, after = string.match(q.args[2], '^(%S+) (%S+)$')
local start = score and redis.call('ZCARD', BATCHES) - paging.entries_before(BATCHES, score, after) or 0
local found = redis.call('ZREVRANGE', BATCHES, start, start + count, 'WITHSCORES')
local reply = { '', int(q.now) }
for i = 1, math.min(#found, 2 * count), 2 do
  local is_valid, read = pcall(function()
    return { redis.call('HGETALL', batches.key(q, found[i])), batches.size(q, found[i]), waits.of_batch(q, found[i]) }
  end)
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = is_valid and read[1] or words_of(read) .. ' (batch ' .. found[i] .. ')'
  reply[#reply + 1] = is_valid and read[2] or 0
  reply[#reply + 1] = is_valid and read[3] or {}
end
if #found > 2 * count then reply[1] = found[2 * count] .. ' ' .. found[2 * count - 1] end
return reply
