-- flags: no-writes
-- Reads the processes that have a lease, or lost it and were not swept yet. ARGV  now_us, how many at most, stages
--       of consumers (with a space between them)
-- Reply { now_us, per process, the one last heard of first: name, until when its lease holds, submissions that it has
--       under way, the stages of its active consumers (with a space between them) }
local boards, reply = {}, { int(q.now) }
for kind in string.gmatch(q.args[3], '%S+') do
  for _, name in ipairs(redis.call('ZRANGEBYSCORE', q.prefix .. 'active_consumers:' .. kind, '(' .. int(q.now),
    '+inf')) do
    boards[name] = (boards[name] and boards[name] .. ' ' or '') .. kind
  end
end
local found = redis.call('ZREVRANGE', q.prefix .. 'processes', 0, tonumber(q.args[2]) - 1, 'WITHSCORES')
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('ZCARD', q.prefix .. 'claims:' .. found[i])
  reply[#reply + 1] = boards[found[i]] or ''
end
return reply
