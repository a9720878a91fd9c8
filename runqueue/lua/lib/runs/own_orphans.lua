-- use: orphans
-- An orphan run of an attempt that the job's record does not know yet (Redis lost that claim) is the job's own. Returns
-- its id and its attempt. If the key was reused for another request, the run is another job's; '-' = Redis had lost the
-- record.
local own_orphans = {}
function own_orphans.find(q, id, known)
  if not orphans.are_any(q) then return nil end
  for run_id in string.gmatch(redis.call('HGET', q.prefix .. 'orphan_jobs', id) or '', '%S+') do
    local record = redis.call('HGET', q.prefix .. 'orphans', run_id) or ''
    local attempt, request = string.match(record, '^%S+ (%d+) %d+ (%S+)')
    if (request == '-' or request == orphans.request_of(q, id)) and tonumber(attempt or 0) > known then
      return run_id, tonumber(attempt)
    end
  end
  return nil
end

return own_orphans
