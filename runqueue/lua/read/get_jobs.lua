-- use: packed waits job_record
-- flags: no-writes
-- Reads jobs. ARGV  now_us, with_result (0 | 1), then ids
-- Reply { now_us, per id: nil | { record as HGETALL (and next_try of a waiting webhook), envelope (the body's first
--         line), batch held ('' | reason), result (it may be packed, see compression.py), why it is not submitted now
--         (waits.lua) } | its error, one text }
local reply = { int(q.now) }

local function read(id)
  local record = redis.call('HGETALL', job_key(q, id))
  if #record == 0 then return false end
  local route = redis.call('HMGET', job_key(q, id), 'delivery', 'webhook_route')
  if route[1] == 'pending' then
    local due = redis.call('ZSCORE', q.prefix .. (route[2] == 'relay' and 'relays' or 'watches'), id)
    record[#record + 1] = 'next_try'
    record[#record + 1] = due or int(q.now)
  end
  local body = redis.call('GET', q.prefix .. 'body:' .. id) or ''
  local f = redis.call('HMGET', job_key(q, id), 'batch', 'state', 'keys', 'priority', 'group', 'canary', 'run_at',
    'on_unconfirmed', 'deferred', 'max_steps', 'run_status', 'started', 'begun')
  local batch = f[1]
  local why = waits.of_job(q, { id = id, batch = batch or NO_BATCH, state = f[2], keys = f[3] or nil,
    priority = f[4] or '2', group = f[5] or 'default', canary = f[6], run_at = f[7], on_unconfirmed = f[8] or nil,
    is_deferred = f[9], max_steps = tonumber(f[10] or nil) or false, run_status = f[11], started = f[12] or nil,
    begun = f[13] or nil })
  local held = batch and redis.call('HGET', q.prefix .. 'batch:' .. batch, 'held') or ''
  local result = q.args[2] == '1' and packed.stored_result(q, id) or ''
  local envelope = body == '' and job_record.envelope_left(q, id) or string.match(body, '^[^\n]*')
  return { record, envelope, held or '', result, why }
end
for i = 3, #q.args do
  local is_valid, found = pcall(read, q.args[i])
  if not is_valid then found = words_of(found) .. ' (job ' .. q.args[i] .. ')' end
  reply[#reply + 1] = found
end
return reply
