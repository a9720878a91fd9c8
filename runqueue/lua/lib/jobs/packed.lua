-- Bodies and results of ended jobs may be packed: see compression.py. A packed one begins with a byte that no JSON
-- begins with.
local packed = {}
local FIRST_OF_JSON = 9
function packed.is_packed(text, at)
  local first = string.byte(text, at)
  return first ~= nil and first < FIRST_OF_JSON
end

-- The position of the request in a body.
function packed.behind_envelope(body) return (string.find(body, '\n', 1, true) or #body) + 1 end

-- A job's result as it is stored, plain or packed ('' = none): a string of its own, or within the packed body.
function packed.stored_result(q, id)
  local result = redis.call('GET', q.prefix .. 'result:' .. id)
  if result then return result end
  local body = redis.call('GET', q.prefix .. 'body:' .. id) or ''
  local at = packed.behind_envelope(body)
  return packed.is_packed(body, at) and string.sub(body, at) or ''
end

return packed
