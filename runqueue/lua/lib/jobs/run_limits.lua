-- How long a run may take (microseconds): the job's own limit (`max_run` of its record), or the account's, which is
-- longer for workflows. The kind of a job is in its envelope, which is read once the account's limit for tasks is over.
local function run_limit(id, own, since, max_run, max_workflow)
  if own then return tonumber(own) end
  if max_workflow <= max_run or since + max_run > NOW then return max_run end
  local head = redis.pcall('GETRANGE', PREFIX .. 'body:' .. id, 0, 16)
  local kind = type(head) == 'string' and string.match(head, '^{"k":"(%a+)"')
  return kind and kind ~= 't' and max_workflow or max_run
end
