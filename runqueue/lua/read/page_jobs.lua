-- use: paging
-- flags: no-writes
-- Pages through jobs of a state that is indexed by time. ARGV  now_us, index ('dead' | 'unconfirmed' |
--       'unconfirmed_no_slot' | 'due' | 'poll' | 'paused' | …), after ('' = from the start, else the last reply's cursor), count
-- Reply { cursor ('' = that was the last page), ids… }
-- A cursor is '<score> <id>': jobs that come or go meanwhile neither skip nor repeat others.
local index, count = q.prefix .. q.args[2], tonumber(q.args[4])
local score, after = string.match(q.args[3], '^(%S+) (%S+)$')
local start = score and paging.entries_before(index, score, after .. '\0') or 0
local found = redis.call('ZRANGE', index, start, start + count, 'WITHSCORES')
local reply = { '' }
for i = 1, math.min(#found, 2 * count), 2 do reply[#reply + 1] = found[i] end
if #found > 2 * count then reply[1] = found[2 * count] .. ' ' .. found[2 * count - 1] end
return reply
