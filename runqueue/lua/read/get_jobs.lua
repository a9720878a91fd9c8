-- use: damaged packed waits
-- Reads jobs. ARGV  now_us, with_result (0 | 1), then ids
-- Reply { now_us, per id: nil | { record as HGETALL (and next_try of a waiting webhook), envelope (the body's first
--         line), batch held ('' | reason), result (it may be packed, see compression.py), why it is not submitted now
--         (waits.lua) } | its error, one text }
local reply = { int(NOW) }

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
  local f = redis.call('HMGET', job_key(id), 'batch', 'state', 'keys', 'priority', 'group', 'canary', 'run_at',
    'on_unconfirmed', 'aside', 'max_steps')
  local batch = f[1]
  local why = waits.of_job({ id = id, batch = batch or NO_BATCH, state = f[2], keys = f[3] or nil, priority = f[4] or '2',
    group = f[5] or 'default', canary = f[6], run_at = f[7], on_unconfirmed = f[8] or nil, is_aside = f[9],
    max_steps = tonumber(f[10] or nil) or false })
  local held = batch and redis.call('HGET', PREFIX .. 'batch:' .. batch, 'held') or ''
  local result = ARGV[2] == '1' and stored_result(id) or ''
  return { record, string.match(body, '^[^\n]*'), held or '', result, why }
end
for i = 3, #ARGV do
  local is_sound, found = pcall(read, ARGV[i])
  if not is_sound then found = words_of(found) .. ' (job ' .. ARGV[i] .. ')' end
  reply[#reply + 1] = found
end
return reply
