-- use: damaged packed lanes
-- Reads jobs. ARGV  now_us, with_result (0 | 1), then ids
-- Reply { now_us, per id: nil | { record as HGETALL (and next_try of a waiting webhook; waits_for: a key, or
--         'budget:<whose>', also of a job that was put aside for it), envelope (the body's first line), batch held ('' | reason), result (it may be packed, see
--         compression.py) } | its error, one text }
local reply = { int(NOW) }

-- What a ready job waits for beside its turn; nil = nothing.
local are_any_held
local function waits_for(batch, keys, priority, group, canary)
  if are_any_held == nil then
    are_any_held = redis.call('EXISTS', PREFIX .. 'held_budgets', PREFIX .. 'held_keys') > 0
  end
  if not are_any_held then return nil end
  local whose = { 'account', 'group:' .. group, 'batch:' .. batch }
  for i, is_held in ipairs(redis.call('ZMSCORE', PREFIX .. 'held_budgets', unpack(whose))) do
    if is_held then return 'budget:' .. whose[i] end
  end
  return keys and waits_at(priority, group, keyed_lane_of({ keys = keys, batch = batch, canary = canary }))
end

local function read(id)
  local record = redis.call('HGETALL', job_key(id))
  if #record == 0 then return false end
  local via = redis.call('HMGET', job_key(id), 'delivery', 'via')
  if via[1] == 'pending' then
    local due = redis.call('ZSCORE', PREFIX .. (via[2] == 'relay' and 'relays' or 'watches'), id)
    record[#record + 1] = 'next_try'
    record[#record + 1] = due or int(NOW)
  end
  local body = redis.call('GET', PREFIX .. 'body:' .. id) or ''
  local f = redis.call('HMGET', job_key(id), 'batch', 'state', 'keys', 'priority', 'group', 'canary', 'aside')
  local batch = f[1]
  local waits = f[2] == 'ready' and waits_for(batch or NO_BATCH, f[3], f[4] or '2', f[5] or 'default', f[6])
    or (f[7] and 'budget:' .. string.match(f[7], '^%S+'))
  if waits then
    record[#record + 1] = 'waits_for'
    record[#record + 1] = waits
  end
  local held = batch and redis.call('HGET', PREFIX .. 'batch:' .. batch, 'held') or ''
  local result = ARGV[2] == '1' and stored_result(id) or ''
  return { record, string.match(body, '^[^\n]*'), held or '', result }
end
for i = 3, #ARGV do
  local is_sound, found = pcall(read, ARGV[i])
  if not is_sound then found = words_of(found) .. ' (job ' .. ARGV[i] .. ')' end
  reply[#reply + 1] = found
end
return reply
