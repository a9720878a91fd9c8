-- use: lanes
-- Compares who has a key (`key:<key>`), and what live runs may take of strict budgets (`max_steps:<what>`), with the jobs.
-- A member that is neither a live job with a slot nor an orphan run that takes one, or is one without that key, group or
-- batch, would keep others waiting for ever.
-- ARGV  now_us, drop (1 = such members are removed), then 2 a name: 'key:<key>' | 'max_steps:<what>', cursor
-- Reply per name that was read (the first ones): name, cursor ('0' = that was all), { its members that have ended }
local MOST, PAGE = 300, 100
local drop, read, reply, is_freed = q.args[2] == '1', 0, {}, false

-- Whether something of a group, a batch and keys belongs to what a set or a hash is of.
local function is_of(what, group, batch, keys)
  local kind, name = string.match(what, '^(%a+):?(.*)$')
  if kind == 'group' then return name == group end
  if kind == 'batch' then return name == batch end
  return kind == 'account' or string.find(' ' .. keys .. ' ', ' ' .. name .. ' ', 1, true) ~= nil
end

local function has_it(what, member)
  local run_id = string.match(member, '^orphan (.*)$')
  if run_id then
    local takes = redis.call('HGET', q.prefix .. 'orphan_takes', run_id)
    local group, batch, keys = string.match(takes or '', '^(%S+) (%S+) %S+ ?(.*)$')
    return group and is_of(what, group, batch, keys)
  end
  local f = redis.call('HMGET', job_key(q, member), 'state', 'slot', 'group', 'batch', 'keys')
  return LIVE[f[1]] and f[2] ~= '0' and is_of(what, f[3] or 'default', f[4] or NO_BATCH, f[5] or '')
end

local function drop_member(name, what, member)
  local key = q.prefix .. name
  if name == what then
    redis.call('SREM', key, member)
    redis.call('ZADD', q.prefix .. 'held_keys', 'XX', int(q.now), (string.gsub(what, '^key:', '')))
  else
    local steps = tonumber(redis.call('HGET', key, member)) or 0
    redis.call('HDEL', key, member)
    redis.call('HINCRBY', key, 'sum', int(-steps))
    if redis.call('HLEN', key) == 1 then
      redis.call('DEL', key)
      redis.call('SREM', q.prefix .. 'commits', what)
    end
  end
  is_freed = true
end

local function check(name, cursor)
  local is_set = string.sub(name, 1, 4) == 'key:'
  local what = is_set and name or string.sub(name, 11)
  local found = redis.call(is_set and 'SSCAN' or 'HSCAN', q.prefix .. name, cursor, 'COUNT', PAGE)
  local ended = {}
  for i = 1, #found[2], is_set and 1 or 2 do
    local member = found[2][i]
    if (is_set or member ~= 'sum') and not has_it(what, member) then
      ended[#ended + 1] = member
      if drop then drop_member(name, what, member) end
    end
  end
  read = read + #found[2]
  return found[1], ended
end

for i = 3, #q.args, 2 do
  if read >= MOST then break end
  local cursor, ended = check(q.args[i], q.args[i + 1])
  reply[#reply + 1] = q.args[i]
  reply[#reply + 1] = cursor
  reply[#reply + 1] = ended
end
if is_freed then lanes.wake(q) end
return reply
