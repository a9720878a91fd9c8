-- use: job_record
-- Records how many live runs of others a list showed: those that no job owns and no orphan is, less those that may be of
-- submissions without an answer yet (under way, or unconfirmed). Each of these may have made one run, `early_us` before
-- its claim at the earliest (clocks differ) and LATEST after it; as many runs as can be theirs are left out. So none of
-- ours ever counts as others'; some of others may be left out, for as long as submissions are without an answer.
-- ARGV  now_us, next_us (when the next list is due), until_us (for how long this one is believed; 0 = none was read),
--       early_us, then 2 a run, the oldest first: run_id, created_us (of the queue's clock; '' = not known; 0 = an
--       earlier list showed that it is of others)
-- Reply { how many are of others, per run: 1 = it surely is, else 0 }
local LATEST, MOST = 3600000000, 1000
local FIELDS = job_record.fields('state', 'claimed')

-- When the submissions without an answer were claimed, the first one first; and how many are not known.
local function open_claims()
  local claims, unknown = {}, 0
  for _, process in ipairs(redis.call('ZRANGE', q.prefix .. 'processes', 0, -1)) do
    local found = redis.call('ZRANGE', q.prefix .. 'claims:' .. process, 0, -1, 'WITHSCORES')
    for i = 2, #found, 2 do claims[#claims + 1] = tonumber(found[i]) end
  end
  for _, name in ipairs({ 'unconfirmed', 'unconfirmed_no_slot' }) do
    unknown = unknown + math.max(0, redis.call('ZCARD', q.prefix .. name) - MOST)
    for _, id in ipairs(redis.call('ZREVRANGE', q.prefix .. name, 0, MOST - 1)) do
      local f = job_record.read_fields(q, id, FIELDS)
      local claimed = tonumber(f and f[2] or 0)
      if claimed > 0 then claims[#claims + 1] = claimed else unknown = unknown + 1 end
    end
  end
  table.sort(claims)
  return claims, unknown
end

local function is_ours(run_id)
  return redis.call('HEXISTS', job_record.runs_key(q, run_id), run_id) == 1
    or redis.call('HEXISTS', q.prefix .. 'orphans', run_id) == 1
end

redis.call('HSET', q.meta, 'others_at', int(tonumber(q.args[2])))
if tonumber(q.args[3]) == 0 then return { 0 } end
local early, claims, unknown = tonumber(q.args[4]), open_claims()
local reply, known, others, undated, matched, first = { 0 }, 0, 0, 0, 0, 1
local function count(run_id, created)
  if is_ours(run_id) then return 0 end
  if created == 0 or (created and unknown == 0 and (#claims == 0 or created < claims[1] - early)) then
    known = known + 1
    return 1
  end
  while created and claims[first] and claims[first] + LATEST < created do first = first + 1 end
  if not created then
    undated = undated + 1
  elseif claims[first] and claims[first] - early <= created then
    first, matched = first + 1, matched + 1
  else
    others = others + 1
  end
  return 0
end
for i = 5, #q.args, 2 do reply[#reply + 1] = count(q.args[i], tonumber(q.args[i + 1])) end
others = others + undated - math.min(undated, #claims - matched)
reply[1] = known + math.max(0, others - unknown)
redis.call('HSET', q.meta, 'others', int(reply[1]), 'others_until', int(tonumber(q.args[3])))
redis.call('HDEL', q.meta, 'others_waited')
return reply
