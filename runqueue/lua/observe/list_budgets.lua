-- use: budgets
-- flags: no-writes
-- Reads budgets. ARGV  now_us, most (keys of a pattern: those that took most), then scopes
-- Reply per scope that has a budget, and per key of a pattern behind it: scope, what (the scope; of a pattern a key, the
--       pattern = none yet), budget (as set_budget.lua takes it), window ends (us; 0 = never), spent, runs of these that
--       count as expected, live, committed (three places), amount a run so far (three places; '' = none has ended),
--       next check of what waits for it (us; 0 = nothing waits)
local most_keys, scopes, reply = tonumber(q.args[2]), { unpack(q.args, 3) }, {}
if not budgets.are_any(q) then return reply end

local function next_check(what)
  local key = string.match(what, '^key:(.*)$')
  return redis.call('ZSCORE', q.prefix .. (key and 'held_keys' or 'held_budgets'), key or what)
    or redis.call('ZSCORE', q.prefix .. 'deferred_for', what)
end

local function add(scope, what, text)
  local state = budgets.read(q, scope, what)
  local record = state.record
  for _, value in ipairs({ scope, what, text, int(record.ends or 0), int(state.spent), int(state.estimated),
    int(state.live), string.format('%.3f', state.committed),
    record.runs > 0 and string.format('%.3f', record.taken / record.runs) or '',
      int(tonumber(next_check(what) or 0)) }) do
    reply[#reply + 1] = value
  end
end

-- The keys of a pattern that took most, of the first thousand in its window.
local function first_keys(spent)
  local fields = redis.call('HSCAN', spent, '0', 'COUNT', 1000)[2]
  local keys = {}
  for i = 1, #fields, 2 do
    if string.sub(fields[i], -1) ~= '?' then keys[#keys + 1] = { fields[i], tonumber(fields[i + 1]) } end
  end
  table.sort(keys, function(one, other) return one[2] > other[2] end)
  return keys
end

budgets.records_of(q, scopes)
for i, text in ipairs(redis.call('HMGET', q.prefix .. 'budgets', unpack(scopes))) do
  local scope = scopes[i]
  if text and string.sub(scope, -2) == ':*' then
    local keys = first_keys(budgets.read(q, scope, scope).record.spent)
    if #keys == 0 then add(scope, scope, text) end
    for n = 1, math.min(most_keys, #keys) do add(scope, keys[n][1], text) end
  elseif text then
    add(scope, scope, text)
  end
end
return reply
