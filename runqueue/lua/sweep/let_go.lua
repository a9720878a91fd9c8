-- use: counters quotas
-- Drops requests of jobs that ended without having been submitted, if enqueue calls left some (quotas.lua).
-- ARGV  now_us, limit.   Reply: the limit = call again, else less
local LETTING_GO = q.prefix .. 'letting_go'
local next_one = redis.call('HRANDFIELD', LETTING_GO, 1, 'WITHVALUES')
local who = next_one[1]
if not who then return 0 end
local jobs, bytes = string.match(next_one[2], '^(%d+) (%d+)$')
-- An account's limits that were raised meanwhile hold.
local now_jobs, now_bytes = quotas.read(q)
local function limit(stored, now)
  if who == '-' then return now end
  return stored > 0 and math.max(stored, now) or 0
end
quotas.let_go(q, who, limit(tonumber(jobs or 0), now_jobs), limit(tonumber(bytes or 0), now_bytes), tonumber(q.args[2]))
return tonumber(q.args[2])
