-- flags: no-writes
-- Lists runs of jobs, scanning the account's keys as open_jobs.lua does.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to scan, since_us (runs that jobs got before, and those of
--       jobs that ended before, are left out)
-- Reply { cursor ('0' = that was all), now_us, then 6 a job: id, run_id ('' = it has none now), since when it is the
--         job's (us; 0 then), its earlier runs (ids with spaces between), created_us, steps that
--         its runs took ('' = not known) }
local JOB, since = q.prefix .. 'job:', tonumber(q.args[4])
local found = redis.call('SCAN', q.args[2], 'MATCH', JOB .. '*', 'COUNT', q.args[3])
local reply = { found[1], int(q.now) }

local function read(key)
  local f = redis.pcall('HMGET', key, 'run_id', 'started', 'earlier', 'ended', 'created', 'usage')
  if f.err or (tonumber(f[4] or nil) or since) < since then return end
  local started = tonumber(f[2] or nil)
  local is_recent = f[1] and started and started >= since
  if not (is_recent or f[3]) then return end
  for _, value in ipairs({ string.sub(key, #JOB + 1), is_recent and f[1] or '', is_recent and f[2] or '0', f[3] or '',
    tonumber(f[5] or nil) and f[5] or '0', string.match(f[6] or '', '^%d*') }) do
    reply[#reply + 1] = value
  end
end

for _, key in ipairs(found[2]) do read(key) end
return reply
