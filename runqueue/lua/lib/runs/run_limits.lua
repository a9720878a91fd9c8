-- How long a run may take (microseconds): the job's own limit (`max_run` of its record), or the account's: `max_run`
-- for tasks, `max_workflow` for workflows, logins and downloads of files, which are workflow runs. The kind of a job is
-- in its envelope, which is read once the shorter of the two is over; until then that one is returned.
local run_limits = {}
function run_limits.of(q, id, own, since, max_run, max_workflow)
  if own then return tonumber(own) end
  local shorter = math.min(max_run, max_workflow)
  if max_run == max_workflow or since + shorter > q.now then return shorter end
  local head = redis.pcall('GETRANGE', q.prefix .. 'body:' .. id, 0, 16)
  local kind = type(head) == 'string' and string.match(head, '^{"k":"(%a+)"')
  return kind and kind ~= 't' and max_workflow or max_run
end

return run_limits
