-- use: counters schedules batches
-- Writes a schedule if nobody changed it meanwhile: all of it, or nothing.
-- ARGV  now_us, name, version (0 = there is none yet), process (whose claim ends with it; '' = none's), look_us (when a
--       worker looks at it next; 0 = now), most (schedules of the account), spec (JSON), lines (digest of its file;
--       '' = none), mark_us, paused, batch (of the firing under way; '' = none), uploads (the JSON spec of its upload;
--       '' = as it is), how many follow of each: dropped firings, notices, firings; then these: times of dropped
--       firings, notices, and per firing: at_us, JSON, its end ('' = it had no new one)
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
if look == 0 then look = q.now end
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

local at, dropped, written = 16, {}, {}
for _ = 1, tonumber(q.args[13]) do
  dropped[#dropped + 1] = 'f:' .. q.args[at]
  at = at + 1
end
for _ = 1, tonumber(q.args[14]) do
  batches.keep_event(q, q.args[at])
  at = at + 1
end
for _ = 1, tonumber(q.args[15]) do
  written[#written + 1] = 'f:' .. q.args[at]
  written[#written + 1] = q.args[at + 1]
  if q.args[at + 2] ~= '' then counters.bump(q.totals, 'firings:' .. q.args[at + 2], 1) end
  at = at + 3
end
if #dropped > 0 then in_parts('HDEL', key, dropped) end
if #written > 0 then in_parts('HSET', key, written) end
return version
