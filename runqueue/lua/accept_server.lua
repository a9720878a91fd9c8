-- Another Redis server answers (a restart, a failover): goes on with it if nothing was lost.
-- ARGV  now_us, sequence (the highest claim sequence this process saw; '' = it remembers none)
-- Reply { 1 = accepted | 0 = claims were lost, sequence stored }
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local stored = tonumber(redis.call('HGET', META, 'sequence') or 0)
local remembered = tonumber(ARGV[2] ~= '' and ARGV[2] or '0')
if stored < remembered then return { 0, int(stored) } end
redis.call('HSET', META, 'run_id', server)
return { 1, int(stored) }
