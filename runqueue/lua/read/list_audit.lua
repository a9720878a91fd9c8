-- Reads a page of what people did, the newest first. ARGV  now_us, before ('' = from the newest, else the last id of
--       the page before), count
-- Reply per note: { id, its fields, flat }
local before = ARGV[2] == '' and '+' or '(' .. ARGV[2]
return redis.call('XREVRANGE', PREFIX .. 'audit', before, '-', 'COUNT', ARGV[3])
