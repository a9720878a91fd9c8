-- flags: no-writes
-- Lists runs that jobs got in a time, scanning the account's keys as open_jobs.lua does.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to scan, since_us, until_us
-- Reply { cursor ('0' = that was all), then 3 a run: its id, its job, when the job got it (us; 0 = not known: an earlier
--         run of a job that had not ended before) }
local JOB, since, before = q.prefix .. 'job:', tonumber(q.args[4]), tonumber(q.args[5])
local found = redis.call('SCAN', q.args[2], 'MATCH', JOB .. '*', 'COUNT', q.args[3])
local reply = { found[1] }

local function read(key)
  local f = redis.pcall('HMGET', key, 'run_id', 'started', 'earlier', 'ended', 'created')
  if f.err or (tonumber(f[4] or nil) or since) < since or (tonumber(f[5] or nil) or before) >= before then return end
  local function add(...)
    for _, value in ipairs({ ... }) do reply[#reply + 1] = value end
  end
  local id, started = string.sub(key, #JOB + 1), tonumber(f[2] or nil) or 0
  if f[1] and started >= since and started < before then add(f[1], id, f[2]) end
  for run_id in string.gmatch(f[3] or '', '%S+') do add(run_id, id, 0) end
end

for _, key in ipairs(found[2]) do read(key) end
return reply
