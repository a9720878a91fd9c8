-- The worker processes whose lease holds. ARGV  now_us, how many at most
-- Reply { now_us, per process: name, lease's deadline_us, submissions under way }, the youngest lease first
local most = tonumber(ARGV[2])
local reply = { int(NOW) }
local found = redis.call('ZREVRANGEBYSCORE', PREFIX .. 'processes', '+inf', '(' .. int(NOW), 'WITHSCORES', 'LIMIT', 0, most)
for i = 1, #found, 2 do
  reply[#reply + 1] = found[i]
  reply[#reply + 1] = found[i + 1]
  reply[#reply + 1] = redis.call('ZCARD', PREFIX .. 'claims:' .. found[i])
end
return reply
