-- The beginning of every script: the account's keys, the clock, and the handling of damage. The parts that a script
-- names (`-- use:`) come next. KEYS[1] = <prefix>meta and names the account's slot; ARGV[1] = the clock: 0 = ask the
-- server; '=<us>' = what the server would say (a simulation's clock); another value is the corrected time as it is (a
-- test drives the clock).
local PREFIX = string.sub(KEYS[1], 1, -5)
local META = KEYS[1]
local DAY = 86400000000
local NO_BATCH = '-'
local LIVE = { submitting = true, unconfirmed = true, running = true }
local ENDED = { completed = true, failed = true, canceled = true, dead = true }

-- Lua prints 1795602435580412 as 1.7956024355804e+15: every number becomes a string here.
local function int(n) return string.format('%.0f', n) end

-- There is no rollback: a wrong type must be found before the first write.
local function expect(key, kind)
  local found = redis.call('TYPE', key).ok
  if found ~= 'none' and found ~= kind then
    error({ err = 'WRONGTYPE ' .. key .. ' is a ' .. found .. ', expected a ' .. kind })
  end
end
expect(META, 'hash')

-- A number of a hash; nil if the field is absent.
local function number(key, field, value)
  if not value then return nil end
  return tonumber(value) or error({ err = 'WRONGTYPE ' .. key .. ': its ' .. field .. ' is no number' })
end

-- Fields of a hash; the error names the key if it is no hash.
local function read_fields(key, ...)
  local f = redis.pcall('HMGET', key, ...)
  if not f.err then return f end
  error({ err = string.find(f.err, 'WRONGTYPE', 1, true) and 'WRONGTYPE ' .. key .. ' is no hash' or f.err })
end

-- One damaged record, lane or batch must not stop a script for the others, least of all half-way. `try` handles one of
-- them; the first error is raised once all is saved. Inside it, reads that may fail come before the first write.
-- Returns true and the function's results if there was no error.
local try, raise_damage
do
  local damage
  function try(act, ...)
    local is_done, result = pcall(act, ...)
    if is_done then return true, result end
    damage = damage or result
    return false
  end
  -- The error text says so (runqueue/store/damage.py).
  function raise_damage()
    if not damage then return end
    local OTHERS = ' (the others go on)'
    if type(damage) == 'table' then damage.err = damage.err .. OTHERS else damage = damage .. OTHERS end
    error(damage, 0)
  end
end

-- Sets something damaged aside: 'job <id>', or 'lane <batch> <priority>:<group>'. See recheck.lua.
local function set_aside(what) redis.pcall('SADD', PREFIX .. 'damaged', what) end

-- NOW corrects steps of the server's clock: see clock.lua. A time before the last believed one means that the clock
-- was set back: NOW stays at that one until the next tick corrects it (`behind`).
local NOW, STEP, behind = tonumber(ARGV[1]), 2000000, 0
local believed -- the time that was last believed; nil if a test drives the clock, or none was reported
local may_be_set = NOW == 0 or not NOW -- a test's clock is not
if may_be_set then
  local clock = redis.call('HMGET', META, 'clock_lost', 'clock')
  if NOW then
    local time = redis.call('TIME')
    NOW = tonumber(time[1]) * 1000000 + tonumber(time[2])
  else
    NOW = tonumber(string.sub(ARGV[1], 2))
  end
  NOW = NOW + tonumber(clock[1] or 0)
  believed = tonumber(clock[2])
  if believed and believed > NOW + STEP then NOW, behind = believed, believed - NOW end
end

-- The time as text, made once: a script of a hundred jobs writes it some hundred times. clock.lua may set it.
local told_now, now_told
local function now_text()
  if told_now ~= NOW then told_now, now_told = NOW, int(NOW) end
  return now_told
end

-- Every tick, twice a second, checks the clock. Without ticks for a while it may have been set meanwhile: decisions by
-- time wait for the next tick.
local function clock_is_stale() return believed and math.abs(NOW - believed) > 5000000 end

-- True if a time that is counted from now may turn out wrong; then it is set right, see clock.lua.
-- Field of meta: has_relative = 1 while there are such times.
local function note_relative()
  if not clock_is_stale() then return false end
  redis.call('HSET', META, 'has_relative', '1')
  return true
end

-- A script whose first write frees memory may run in a full server (ends must be recorded); one that begins with a
-- growing write is refused there, before anything is half done.
local function pass_when_full() redis.call('DEL', PREFIX .. 'nothing') end

local function job_key(id) return PREFIX .. 'job:' .. id end

-- Runs a command on a list of any length, for `unpack` takes 1,000 without harm; returns its last reply.
local function in_parts(command, key, list)
  local reply
  for first = 1, #list, 1000 do
    reply = redis.call(command, key, unpack(list, first, math.min(first + 999, #list)))
  end
  return reply
end
