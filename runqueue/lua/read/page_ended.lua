-- flags: no-writes
-- Pages through the jobs that ended in some states, the newest first, through the lists of their days.
-- ARGV  now_us, states (with spaces between), cursor ('' = the first page, else the last reply's), count,
--       looks (entries to read, at most), since_us, until_us (only ends from then on, and before then; '' = any)
-- Reply { cursor ('' = that was the last page), ids… }
-- Positions in a list count from its head, so that jobs that end meanwhile move none. Of a job that ended twice the
-- later entry counts: at the earlier one the walk is at times before the job's end. A cursor is
-- '<day>:<entries left>:<ended_us of the last>:<where entries of that time begin>:<the last that was shown>'.
local count, looks = tonumber(q.args[4]), tonumber(q.args[5])
local since, before = tonumber(q.args[6]) or 0, tonumber(q.args[7]) or q.now + DAY
local ONE_SCRIPT = 1000 -- so many jobs may end in one instant
local today = math.floor(q.now / DAY)
local oldest = math.max(tonumber(redis.call('HGET', q.meta, 'retired_day') or today - 400), math.floor(since / DAY))
local day, left, time, top, last = string.match(q.args[3], '^(%d+):(%d*):(%d+):(%d*):(%w*)$')
day, time = tonumber(day or math.min(today, math.floor((before - 1) / DAY))), tonumber(time or before - 1)
left, top = tonumber(left or ''), tonumber(top or '')
local reply, shown, wanted = { '' }, { [last or ''] = true }, {}
for state in string.gmatch(q.args[2], '%a+') do wanted[state] = true end

local function list_of(which) return q.prefix .. 'ended:' .. int(which) end
if left and top then
  -- Entries there with the same end were read; a job of these has only an earlier entry besides.
  for _, id in ipairs(redis.call('LRANGE', list_of(day), math.max(left, top - ONE_SCRIPT), top - 1)) do
    shown[id] = true
  end
end

local function look(id)
  local f = redis.pcall('HMGET', job_key(q, id), 'state', 'ended')
  local at = tonumber(f[2] or 0)
  if f.err or not at or not f[1] or shown[id] or at > time or math.floor(at / DAY) ~= day then return end
  shown[id] = true
  if at < time then time, top = at, left end
  if at < since then
    day = oldest - 1 -- so did what is before it in the list: that was the last page
    return
  end
  if not wanted[f[1]] then return end
  last = id
  reply[#reply + 1] = id
end

while day >= oldest and looks > 0 and #reply <= count do
  local list = list_of(day)
  local length = redis.call('LLEN', list)
  left = math.min(left or length, length)
  local n = math.min(left, looks, 100)
  local ids = n > 0 and redis.call('LRANGE', list, left - n, left - 1) or {}
  for i = #ids, 1, -1 do
    if #reply > count or day < oldest then break end
    look(ids[i])
    left, looks = left - 1, looks - 1
  end
  if left == 0 then
    day, left, top, looks = day - 1, nil, nil, looks - 1
  end
end
if day >= oldest then
  reply[1] = table.concat({ int(day), left and int(left) or '', int(time), top and int(top) or '', last or '' }, ':')
end
return reply
