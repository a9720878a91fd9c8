-- use: packed
-- Reads jobs. ARGV  now_us, with_result (0 | 1), then ids
-- Reply { now_us, per id: nil | { record as HGETALL (and next_try of a webhook that waits), envelope (the body's
--         first line), batch held ('' | reason), result (it may be packed, see packing.py) } }
local reply = { int(NOW) }
for i = 3, #ARGV do
  local record = redis.call('HGETALL', job_key(ARGV[i]))
  if #record == 0 then
    reply[#reply + 1] = false
  else
    local via = redis.call('HMGET', job_key(ARGV[i]), 'delivery', 'via')
    if via[1] == 'pending' then
      local due = redis.call('ZSCORE', PREFIX .. (via[2] == 'relay' and 'relays' or 'watches'), ARGV[i])
      record[#record + 1] = 'next_try'
      record[#record + 1] = due or int(NOW)
    end
    local body = redis.call('GET', PREFIX .. 'body:' .. ARGV[i]) or ''
    local batch = redis.call('HGET', job_key(ARGV[i]), 'batch')
    local held = batch and redis.call('HGET', PREFIX .. 'batch:' .. batch, 'held') or ''
    local result = ARGV[2] == '1' and stored_result(ARGV[i]) or ''
    reply[#reply + 1] = { record, string.match(body, '^[^\n]*'), held or '', result }
  end
end
return reply
