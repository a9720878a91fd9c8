-- use: budgets
-- Reads the budgets.
-- ARGV  now_us, most, most (keys of a pattern: those that took most)
-- Reply per budget, and per key of a pattern behind it: scope, what (the scope; of a pattern a key, '' = none yet), budget
--       (as set_budget.lua takes it), window ends (us; 0 = never), spent, runs of these that count as expected, live,
--       committed (steps; three places), steps a run so far (three places; '' = none has ended), held until (us; 0 = not)
local most, most_keys, reply = tonumber(ARGV[2]), tonumber(ARGV[3]), {}

local function add(scope, what, text)
  local state = budgets.read(scope, what)
  local record = state.record
  local key = string.match(what, '^key:(.*)$')
  local held = redis.call('ZSCORE', PREFIX .. (key and 'held_keys' or 'held_budgets'), key or what)
  for _, value in ipairs({ scope, what, text, int(record.ends or 0), int(state.spent), int(state.guessed),
    int(state.live), string.format('%.3f', state.committed),
    record.runs > 0 and string.format('%.3f', record.taken / record.runs) or '', int(tonumber(held or 0)) }) do
    reply[#reply + 1] = value
  end
end

-- The keys of a pattern that took most, of the first thousand in its window.
local function first_keys(spent)
  local found = redis.call('HSCAN', spent, '0', 'COUNT', 1000)[2]
  local keys = {}
  for i = 1, #found, 2 do
    if string.sub(found[i], -1) ~= '?' then keys[#keys + 1] = { found[i], tonumber(found[i + 1]) } end
  end
  table.sort(keys, function(one, other) return one[2] > other[2] end)
  return keys
end

local all = redis.call('HGETALL', PREFIX .. 'budgets')
for i = 1, math.min(#all, 2 * most), 2 do
  local scope, text = all[i], all[i + 1]
  if string.sub(scope, -2) == ':*' then
    local keys = first_keys(budgets.read(scope, scope).record.spent)
    if #keys == 0 then add(scope, scope, text) end
    for n = 1, math.min(most_keys, #keys) do add(scope, keys[n][1], text) end
  else
    add(scope, scope, text)
  end
end
return reply
