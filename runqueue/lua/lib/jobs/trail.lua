-- The uncommon steps of a job's life stay on its record, the last twelve of them, so that people can be told. A
-- common life (created, claimed, started, ended) is told by the fields that it has anyway, and pays for none of this.
-- `trail` holds a line a step: '<us> <attempt> <step> <cause>'.
local MOST_STEPS, LONGEST_CAUSE = 12, 160
local function note_step(job, step, cause)
  local words = string.gsub(string.sub(cause or '', 1, LONGEST_CAUSE), '%c', ' ')
  local lines = { table.concat({ int(NOW), int(job.attempt), step, words }, ' ') }
  for line in string.gmatch(redis.call('HGET', job_key(job.id), 'trail') or '', '[^\n]+') do
    if #lines < MOST_STEPS then lines[#lines + 1] = line end
  end
  redis.call('HSET', job_key(job.id), 'trail', table.concat(lines, '\n'))
end
