-- use: job_record
-- Records how many live runs of others a list showed: those that no job owns and no orphan is, less those that may be
-- of submissions that took a slot before its reading began, and have no answer. Each of these may have made one run
-- from its claim until LATEST after it; as many runs as can be theirs are left out. So ours count for one list at most;
-- some of others may be left out while submissions are without an answer.
-- ARGV  now_us, next_us (when the next list is due), until_us (for how long this one is believed; 0 = none was read),
--       began_us (when the reading began), then 2 a run, the oldest first: run_id, created_us (at the latest, by the
--       queue's clock; 0 = it was of others before)
-- Reply { how many are of others, per run: 1 = it surely is, else 0 }
local LATEST, MOST = 3600000000, 1000

-- When the submissions without an answer were claimed (of unconfirmed jobs the last ones), the first one first.
local function open_claims()
  local claims = {}
  for _, process in ipairs(redis.call('ZRANGE', q.prefix .. 'processes', 0, -1)) do
    local found = redis.call('ZRANGE', q.prefix .. 'claims:' .. process, 0, -1, 'WITHSCORES')
    for i = 2, #found, 2 do claims[#claims + 1] = tonumber(found[i]) end
  end
  for _, id in ipairs(redis.call('ZREVRANGE', q.prefix .. 'unconfirmed', 0, MOST - 1)) do
    claims[#claims + 1] = tonumber(redis.call('HGET', job_key(q, id), 'claimed') or nil)
  end
  table.sort(claims)
  return claims
end

redis.call('HSET', q.meta, 'others_at', int(tonumber(q.args[2])))
if tonumber(q.args[3]) == 0 then return { 0 } end
local began, claims, reply, first = tonumber(q.args[4]), open_claims(), { 0 }, 1

-- Whether a run is of others, and whether that is sure.
local function is_of_others(run_id, created)
  if redis.call('HEXISTS', job_record.runs_key(q, run_id), run_id) == 1
    or redis.call('HEXISTS', q.prefix .. 'orphans', run_id) == 1 then
    return false, false
  end
  if #claims == 0 or created < claims[1] then return true, true end
  while claims[first] and claims[first] + LATEST < created do first = first + 1 end
  if not claims[first] or claims[first] > math.min(began, created) then return true, false end
  first = first + 1
  return false, false
end
for i = 5, #q.args, 2 do
  local is_others, is_sure = is_of_others(q.args[i], tonumber(q.args[i + 1]))
  if is_others then reply[1] = reply[1] + 1 end
  reply[#reply + 1] = is_sure and 1 or 0
end
redis.call('HSET', q.meta, 'others', reply[1], 'others_until', int(tonumber(q.args[3])))
redis.call('HDEL', q.meta, 'others_waited')
return reply
