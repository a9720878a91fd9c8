-- Records what a person did, in a list of the last actions.
-- ARGV  now_us, how many are kept, key (random: an entry repeated after a lost reply is stored once), who, what,
--       target (what it was done to, '' = the account), detail (in words)
-- Reply: the entry's id
local AUDIT, SAME_AMONG = q.prefix .. 'audit', 16
for _, entry in ipairs(redis.call('XREVRANGE', AUDIT, '+', '-', 'COUNT', SAME_AMONG)) do
  for i = 1, #entry[2], 2 do
    if entry[2][i] == 'key' and entry[2][i + 1] == q.args[3] then return entry[1] end
  end
end
return redis.call('XADD', AUDIT, 'MAXLEN', '~', q.args[2], '*', 'key', q.args[3], 'at', int(q.now), 'who', q.args[4],
  'what', q.args[5], 'target', q.args[6], 'detail', q.args[7])
