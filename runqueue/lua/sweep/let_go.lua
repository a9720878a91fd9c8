-- use: save quotas
-- Drops requests of jobs that ended without having been submitted, if enqueue calls left some (quotas.lua).
-- ARGV  now_us, limit.   Reply: the limit = call again, else less
local LETTING_GO = PREFIX .. 'letting_go'
expect(LETTING_GO, 'hash')
pass_when_full()
local next_one = redis.call('HRANDFIELD', LETTING_GO, 1, 'WITHVALUES')
local who = next_one[1]
if not who then return 0 end
local jobs, bytes = string.match(next_one[2], '^(%d+) (%d+)$')
let_go(who, tonumber(jobs or 0), tonumber(bytes or 0), tonumber(ARGV[2]))
save()
raise_damage()
return tonumber(ARGV[2])
