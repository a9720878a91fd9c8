-- Bodies and results of ended jobs may be packed: see compression.py. A packed one begins with a byte that no JSON
-- begins with.
local FIRST_OF_JSON = 9
local function is_packed(text, at)
  local first = string.byte(text, at)
  return first ~= nil and first < FIRST_OF_JSON
end

-- The position of the request in a body.
local function behind_envelope(body) return (string.find(body, '\n', 1, true) or #body) + 1 end

-- A job's result as it is stored, plain or packed ('' = none): a string of its own, or within the packed body.
local function stored_result(id)
  local result = redis.call('GET', PREFIX .. 'result:' .. id)
  if result then return result end
  local body = redis.call('GET', PREFIX .. 'body:' .. id) or ''
  local at = behind_envelope(body)
  return is_packed(body, at) and string.sub(body, at) or ''
end
