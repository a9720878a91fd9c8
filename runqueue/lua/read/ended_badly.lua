-- flags: no-writes
-- Reads which jobs of a page of a batch may be submitted again: those that are dead, failed or canceled.
-- ARGV  now_us, batch, from, count
-- Reply { how many jobs were read, per job: id, attempt, ended_us, state, reason }
local ids = redis.call('LRANGE', q.prefix .. 'batch_jobs:' .. q.args[2], q.args[3],
  tonumber(q.args[3]) + tonumber(q.args[4]) - 1)
local reply = { #ids }
for _, id in ipairs(ids) do
  local f = redis.call('HMGET', job_key(q, id), 'state', 'batch', 'attempt', 'ended', 'reason')
  if ENDED[f[1] or ''] and f[1] ~= 'completed' and f[2] == q.args[2] then
    reply[#reply + 1] = id
    reply[#reply + 1] = f[3] or '0'
    reply[#reply + 1] = f[4] or '0'
    reply[#reply + 1] = f[1]
    reply[#reply + 1] = f[5] or ''
  end
end
return reply
