-- Records what a person did, in a list of the last actions.
-- ARGV  now_us, how many are kept, key (random: a note repeated after a lost reply is stored once), who, what,
--       target (what it was done to, '' = the account), detail (in words)
-- Reply: the note's id
local AUDIT, SAME_AMONG = PREFIX .. 'audit', 16
expect(AUDIT, 'stream')
pass_when_full()
for _, note in ipairs(redis.call('XREVRANGE', AUDIT, '+', '-', 'COUNT', SAME_AMONG)) do
  for i = 1, #note[2], 2 do
    if note[2][i] == 'key' and note[2][i + 1] == ARGV[3] then return note[1] end
  end
end
return redis.call('XADD', AUDIT, 'MAXLEN', '~', ARGV[2], '*', 'key', ARGV[3], 'at', int(NOW), 'who', ARGV[4],
  'what', ARGV[5], 'target', ARGV[6], 'detail', ARGV[7])
