-- How the webhook of an attempt travels, see webhooks.lua. `receives` says whether webhooks are sent to our receiver. The
-- envelope is the first line of the stored body; a quote within one of its values is escaped.
local function set_via(id, receives, body, is_first)
  local at = string.find(body, ',"webhook_url":"', 1, true)
  local names_url = at and at < (string.find(body, '\n', 1, true) or 0)
  local via = (receives or names_url) and (receives and (names_url and 'relay' or 'push') or 'watch') or nil
  if via then
    redis.call('HSET', job_key(id), 'via', via)
  elseif not is_first then
    redis.call('HDEL', job_key(id), 'via')
  end
  return via
end
