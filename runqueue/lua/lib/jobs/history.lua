-- The last twelve uncommon steps of a job's life stay on its record, for its timeline. The common steps (created,
-- claimed, started, ended) have fields anyway and cost nothing here.
-- `history` holds a line a step: '<us> <attempt> <step> <cause>'.
local history = {}
local MOST_STEPS, LONGEST_CAUSE = 12, 160
function history.add(q, job, step, cause)
  local words = string.gsub(string.sub(cause or '', 1, LONGEST_CAUSE), '%c', ' ')
  local lines = { table.concat({ int(q.now), int(job.attempt), step, words }, ' ') }
  for line in string.gmatch(redis.call('HGET', job_key(q, job.id), 'history') or '', '[^\n]+') do
    if #lines < MOST_STEPS then lines[#lines + 1] = line end
  end
  redis.call('HSET', job_key(q, job.id), 'history', table.concat(lines, '\n'))
end

return history
