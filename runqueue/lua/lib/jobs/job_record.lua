-- The record of a job, and of its runs.
local job_record = {}
job_record.OCCUPIED = 'Browser session %S+ is already occupied by ' -- as in api_client/answers/occupied.py
function job_record.read(q, id)
  local key = job_key(q, id)
  local f = redis.pcall('HMGET', key, 'state', 'attempt', 'priority', 'group', 'batch',
    'cancel', 'run_id', 'process', 'slot', 'started', 'deadline', 'runs', 'on_unconfirmed', 'deaths', 'via',
    'delivery', 'canary', 'ready_at', 'created', 'max_run', 'charged', 'keys')
  if f.err then read_fields(key, 'state') end -- raises the error
  if not f[1] then return nil end
  local attempt, runs, deaths = tonumber(f[2] or 0), tonumber(f[12] or 0), tonumber(f[14] or 0)
  if not (attempt and runs and deaths and tonumber(f[10] or 0) and tonumber(f[11] or 0) and tonumber(f[18] or 0)
    and tonumber(f[19] or 0) and tonumber(f[20] or 0)) then
    for at, field in pairs({ [2] = 'attempt', [10] = 'started', [11] = 'deadline', [12] = 'runs', [14] = 'deaths',
      [18] = 'ready_at', [19] = 'created', [20] = 'max_run' }) do
      number(key, field, f[at])
    end
  end
  return { id = id, state = f[1], attempt = attempt, priority = f[3] or '2',
    group = f[4] or 'default', batch = f[5] or NO_BATCH, cancel = f[6], run_id = f[7],
    process = f[8], slot = f[9], started = f[10], deadline = f[11], runs = runs,
    on_unconfirmed = f[13] or 'auto', deaths = deaths, via = f[15], delivery = f[16],
    canary = f[17], since = f[18] or f[19], max_run = f[20] and tonumber(f[20]), charged = f[21],
    keys = f[22] }
end

function job_record.runs_key(q, run_id)
  return q.prefix .. 'runs:' .. string.sub(redis.sha1hex(run_id), 1, 4)
end

-- An ended run stays bound to its job, although the job gets another: it is never taken for a later one.
function job_record.keep_earlier(q, job)
  if not job.run_id then return end
  local earlier = redis.call('HGET', job_key(q, job.id), 'earlier')
  redis.call('HSET', job_key(q, job.id), 'earlier', (earlier and earlier .. ' ' or '') .. job.run_id,
    'ran', int(job.attempt))
end

-- The first line of a stored request, its envelope: of very long ones alone more than the beginning is read.
function job_record.envelope_of(q, id)
  local key = q.prefix .. 'body:' .. id
  local head = redis.call('GETRANGE', key, 0, 16383)
  if #head == 16384 and not string.find(head, '\n', 1, true) then head = redis.call('GET', key) end
  return string.match(head, '^[^\n]*')
end

return job_record
