-- Pages through jobs of a state that is indexed by time. ARGV  now_us, index ('dead' | 'unconfirmed' |
--       'parked' | 'due' | 'poll'), after ('' = from the start, else the last reply's cursor), count
-- Reply { cursor ('' = that was the last page), ids… }
-- A cursor is '<score> <id>': jobs that come or go meanwhile neither skip nor repeat others.
local index, count = PREFIX .. ARGV[2], tonumber(ARGV[4])
expect(index, 'zset')
local score, after = string.match(ARGV[3], '^(%S+) (%S+)$')
local found = redis.call('ZRANGEBYSCORE', index, score or '-inf', '+inf', 'WITHSCORES', 'LIMIT', 0, count + 1)
-- Members of one score stand in the order of their names: those up to the cursor's were shown.
local offset = 0
while score and #found > 0 and found[#found] == score and found[#found - 1] <= after do
  offset = offset + count + 1
  found = redis.call('ZRANGEBYSCORE', index, score, '+inf', 'WITHSCORES', 'LIMIT', offset, count + 1)
end
local reply, cursor = { '' }, ''
for i = 1, #found, 2 do
  if not (score and found[i + 1] == score and found[i] <= after) and #reply <= count then
    reply[#reply + 1] = found[i]
    cursor = found[i + 1] .. ' ' .. found[i]
  end
end
if #found / 2 > count then reply[1] = cursor end
return reply
