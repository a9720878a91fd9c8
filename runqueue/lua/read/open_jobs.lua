-- flags: no-writes
-- Finds jobs by state, scanning the account's keys: ready jobs have no index but their lanes, from which claims take
-- meanwhile, and of which there is no list.
-- ARGV  now_us, cursor ('0' = from the start), how many keys to scan, which ('open' = those that have not
--       ended | 'any' | a state)
-- Reply { cursor ('0' = that was all), ids… }
-- A job that exists all the time is found; one may be found twice.
local JOB, which = q.prefix .. 'job:', q.args[4]
local found = redis.call('SCAN', q.args[2], 'MATCH', JOB .. '*', 'COUNT', q.args[3])
local reply = { found[1] }
for _, key in ipairs(found[2]) do
  local state = redis.pcall('HGET', key, 'state')
  if type(state) == 'table' then state = nil end -- it cannot be read
  local is_open = state and not ENDED[state]
  if state and (state == which or which == 'any' or (which == 'open' and is_open)) then
    reply[#reply + 1] = string.sub(key, #JOB + 1)
  end
end
return reply
