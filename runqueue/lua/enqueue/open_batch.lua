-- flags: refused-when-full
-- Opens a batch that is held until it is sealed.
-- ARGV  now_us, batch, name, abort (the share of bad ends among the ended that aborts it; '' = none), abort_after
--       (no sooner than so many have ended), canary (how many jobs run first; 0 = no such rule), canary_ratio (the
--       share of them that must complete before the others run), expires_us (so long after the sealing nothing more of
--       it is submitted; 0 = never), callback_url (called at the end; '' = none), callback_at (called, too, when these
--       shares of its jobs have ended: ascending, with spaces between), metadata (a JSON object; '' = none)
-- Reply 1 = opened, 0 = it existed (a repeated call)
local key = q.prefix .. 'batch:' .. q.args[2]
if redis.call('HSETNX', key, 'sealed', '0') == 0 then return 0 end
redis.call('HSET', key, 'created', int(q.now), 'name', q.args[3])
if q.args[4] ~= '' then redis.call('HSET', key, 'abort', q.args[4], 'abort_after', q.args[5]) end
if q.args[6] ~= '0' then redis.call('HSET', key, 'canary', q.args[6], 'canary_ratio', q.args[7], 'held', 'canary') end
if q.args[8] ~= '0' then redis.call('HSET', key, 'expires_after', q.args[8]) end
if q.args[9] ~= '' then redis.call('HSET', key, 'callback_url', q.args[9], 'callback_at', q.args[10]) end
if q.args[11] ~= '' then redis.call('HSET', key, 'metadata', q.args[11]) end
redis.call('ZADD', q.prefix .. 'batches', int(q.now), q.args[2])
redis.call('HINCRBY', q.prefix .. 'counters', 'batches:opened', 1)
redis.call('ZADD', q.prefix .. 'unsealed', int(q.now), q.args[2])
return 1
