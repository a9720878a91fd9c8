-- use: counters
-- Opens a batch that is held until it is sealed.
-- ARGV  now_us, batch, name, abort (the share of bad ends among the ended that aborts it; '' = none), abort_after
--       (no sooner than so many have ended), canary (how many jobs run first; 0 = no such rule), canary_ratio (the
--       share of them that must complete before the others run), expires_us (so long after the sealing nothing more of
--       it is submitted; 0 = never), callback_url (called at the end; '' = none), callback_at (called, too, when these
--       shares of its jobs have ended: ascending, with spaces between)
-- Reply 1 = opened, 0 = it existed (a repeated call)
local key = PREFIX .. 'batch:' .. ARGV[2]
expect(key, 'hash')
expect(PREFIX .. 'batches', 'zset')
if redis.call('HSETNX', key, 'sealed', '0') == 0 then return 0 end
redis.call('HSET', key, 'created', int(NOW), 'name', ARGV[3])
if ARGV[4] ~= '' then redis.call('HSET', key, 'abort', ARGV[4], 'abort_after', ARGV[5]) end
if ARGV[6] ~= '0' then redis.call('HSET', key, 'canary', ARGV[6], 'canary_ratio', ARGV[7], 'held', 'canary') end
if ARGV[8] ~= '0' then redis.call('HSET', key, 'expires_after', ARGV[8]) end
if ARGV[9] ~= '' then redis.call('HSET', key, 'callback_url', ARGV[9], 'callback_at', ARGV[10]) end
redis.call('ZADD', PREFIX .. 'batches', int(NOW), ARGV[2])
redis.call('HINCRBY', COUNTERS, 'batches:opened', 1)
redis.call('ZADD', PREFIX .. 'unsealed', int(NOW), ARGV[2])
return 1
