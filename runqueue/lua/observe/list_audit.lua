-- flags: no-writes
-- Reads a page of what people did, the newest first. ARGV  now_us, before ('' = from the newest, else the last id of
--       the page before), count
-- Reply per entry: { id, its fields, flat }
local before = q.args[2] == '' and '+' or '(' .. q.args[2]
return redis.call('XREVRANGE', q.prefix .. 'audit', before, '-', 'COUNT', q.args[3])
