-- flags: no-writes
-- Finds the sets of who has a key, and the hashes of what live runs may take of budgets, scanning the account's keys.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to scan
-- Reply { cursor ('0' = that was all), 'key:<key>' | 'max_steps:<what>'… }; one may be found twice
local found = redis.call('SCAN', q.args[2], 'COUNT', q.args[3])
local reply = { found[1] }
for _, key in ipairs(found[2]) do
  local name = string.sub(key, 1, #q.prefix) == q.prefix and string.sub(key, #q.prefix + 1) or ''
  if string.find(name, '^key:') or string.find(name, '^max_steps:') then reply[#reply + 1] = name end
end
return reply
