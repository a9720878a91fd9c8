-- use: counters schedules batches
-- Writes a schedule if nobody changed it meanwhile: all of it, or nothing.
-- ARGV  now_us, name, version (0 = there is none yet), process (whose claim ends with it; '' = none's), look_us (when a
--       worker looks at it next; 0 = now), most (schedules of the account), spec (JSON), lines (name of its file;
--       '' = none), mark_us, paused, batch (of the firing under way; '' = none), uploads (the JSON spec of its upload;
--       '' = as it is), how many follow: times of firings that are dropped, totals that rise by one, notices (as
--       batches.keep_event has them); then these, and per firing that changed: at_us, JSON
-- Reply: its new version; 0 = it has another one by now, -1 = the account has too many, -2 = its file is not stored
local SCHEDULES, name, process = q.prefix .. 'schedules', q.args[2], q.args[4]
local key, look, lines = schedules.key(q, name), tonumber(q.args[5]), q.args[8]
local f = redis.call('HMGET', key, 'version', 'lines', 'claimed', 'batch')
if (f[1] or '0') ~= q.args[3] then return 0 end
if not f[1] and redis.call('ZCARD', SCHEDULES) >= tonumber(q.args[6]) then return -1 end
if lines ~= '' and lines ~= f[2] and not schedules.has_lines(q, lines) then return -2 end

-- A version is never used twice, so that one of a removed schedule matches no other.
local version = redis.call('HINCRBY', q.meta, 'schedule_version', 1)
local holder, until_us = string.match(f[3] or '', '^(%S+) (%d+)$')
if look == 0 then look = schedules.now(q) end
if holder == process then
  redis.call('HDEL', key, 'claimed')
elseif holder then
  look = math.max(look, tonumber(until_us))
end
redis.call('ZADD', SCHEDULES, int(look), name)
redis.call('HSET', key, 'version', version, 'spec', q.args[7], 'lines', lines, 'mark', q.args[9], 'paused', q.args[10],
  'batch', q.args[11])
if q.args[12] ~= '' or q.args[11] ~= f[4] then redis.call('HSET', key, 'uploads', q.args[12]) end
schedules.name_lines(q, f[2] or '', lines)

local at = 16
local function each(n, act)
  for _ = 1, tonumber(n) do
    act(q.args[at])
    at = at + 1
  end
end
each(q.args[13], function(when) redis.call('HDEL', key, 'f:' .. when) end)
each(q.args[14], function(total) counters.bump(q.totals, total, 1) end)
each(q.args[15], function(notice) batches.keep_event(q, notice) end)
for i = at, #q.args, 2 do redis.call('HSET', key, 'f:' .. q.args[i], q.args[i + 1]) end
return version
