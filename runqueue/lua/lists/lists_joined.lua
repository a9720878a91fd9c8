-- flags: no-writes
-- Reads which runs joined the lists, in the order in which they did.
-- ARGV  now_us, from ('-inf', a time, or '(<time>': after it), limit (more, if several joined at one time)
-- Reply { more (1 = call again from after the last), then 5 a job: id, run_id, run_status, started_us, joined_us }
local limit, reply, seen = tonumber(q.args[3]), { 0 }, {}
local function add(found)
  for i = 1, #found, 2 do
    if not seen[found[i]] then
      seen[found[i]] = true
      local f = redis.call('HMGET', job_key(q, found[i]), 'run_id', 'run_status', 'started')
      for _, field in ipairs({ found[i], f[1] or '', f[2] or '', f[3] or '0', found[i + 1] }) do
        reply[#reply + 1] = field
      end
    end
  end
end
local found = redis.call('ZRANGEBYSCORE', q.prefix .. 'listed', q.args[2], '+inf', 'WITHSCORES', 'LIMIT', 0, limit)
add(found)
if #found == 2 * limit then
  -- Runs recorded by one script share a time: all of them are read, so that the next page can begin after it.
  reply[1] = 1
  add(redis.call('ZRANGEBYSCORE', q.prefix .. 'listed', found[#found], found[#found], 'WITHSCORES'))
end
return reply
