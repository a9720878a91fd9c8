-- The record of a job, and of its runs.
local job_record = {}
job_record.OCCUPIED = 'Browser session %S+ is already occupied by ' -- as in api_client/answers/occupied.py

-- Fields that scripts read together; `state` is the first, and missing if there is no such job. `numbers` = the places
-- of those that have to be numbers.
local IS_NUMBER = { attempt = true, started = true, deadline = true, runs = true, deaths = true, ready_at = true,
  created = true, max_run = true, begun = true, cancel_since = true, claimed = true, ended = true, tries = true,
  looks = true, forced = true, past_runs = true }
function job_record.fields(...)
  local fields = { numbers = {}, ... }
  for at = 1, #fields do -- no `ipairs` while a library is loaded
    if IS_NUMBER[fields[at]] then fields.numbers[#fields.numbers + 1] = at end
  end
  return fields
end

-- Raises an error that has the job quarantined (changes.lua); nil if it is already, as if there were no such job.
local function unreadable(q, id, why)
  if redis.call('ZSCORE', q.prefix .. 'quarantined', id) then return nil end
  q.unreadable = id -- `pcall` leaves nothing of an error but its text
  error({ err = 'UNREADABLE job ' .. id .. ': ' .. why })
end

-- Reads some fields of a job, by their places; nil: there is no such job.
function job_record.read_fields(q, id, fields)
  local f = redis.pcall('HMGET', job_key(q, id), unpack(fields))
  if f.err then return unreadable(q, id, f.err) end
  if not f[1] then return nil end
  local numbers = fields.numbers
  for i = 1, #numbers do
    local at = numbers[i]
    if f[at] and not tonumber(f[at]) then return unreadable(q, id, 'its ' .. fields[at] .. ' is no number') end
  end
  return f
end

job_record.CLAIMED = job_record.fields('state', 'attempt', 'batch', 'deadline', 'priority', 'group', 'deaths',
  'maybe_claimed_at',
  'quota_owner', 'no_marker', 'webhook_route', 'cancel', 'keys')
job_record.POLLED = job_record.fields('state', 'attempt', 'run_id', 'run_status', 'started', 'deadline', 'retry', 'runs',
  'cancel', 'max_run', 'begun', 'keys')
job_record.STILL_LIVE = job_record.fields('state', 'attempt', 'webhook_route', 'started', 'max_run', 'begun')
job_record.CANCELED = job_record.fields('state', 'attempt', 'run_id', 'cancel_since')
job_record.DELIVERED = job_record.fields('state', 'attempt', 'run_id', 'run_status', 'webhook_route', 'tries', 'looks',
  'forced',
  'ended', 'signed', 'url', 'delivery')
job_record.RETIRED = job_record.fields('state', 'ended', 'run_id', 'batch', 'priority', 'webhook_route', 'delivery',
  'attempt')
job_record.ORPHANED = job_record.fields('state', 'digest', 'group', 'batch', 'max_steps', 'keys')
job_record.TIMED = job_record.fields('state', 'run_id', 'started', 'begun', 'max_run')
job_record.TAKEN = job_record.fields('state', 'attempt', 'process')
job_record.REQUEST = job_record.fields('state', 'attempt', 'run_id', 'request_match')

local FIELDS = job_record.fields('state', 'attempt', 'priority', 'group', 'batch', 'cancel', 'run_id', 'process', 'slot',
  'started', 'deadline', 'runs', 'on_unconfirmed', 'deaths', 'webhook_route', 'delivery', 'canary', 'ready_at',
    'created', 'max_run',
  'quota_owner', 'keys')
function job_record.read(q, id)
  local f = job_record.read_fields(q, id, FIELDS)
  if not f then return nil end
  return { id = id, state = f[1], attempt = tonumber(f[2] or 0), priority = f[3] or '2',
    group = f[4] or 'default', batch = f[5] or NO_BATCH, cancel = f[6], run_id = f[7],
    process = f[8], slot = f[9], started = f[10], deadline = f[11], runs = tonumber(f[12] or 0),
    on_unconfirmed = f[13] or 'auto', deaths = tonumber(f[14] or 0), webhook_route = f[15], delivery = f[16],
    canary = f[17], since = f[18] or f[19], max_run = f[20] and tonumber(f[20]), quota_owner = f[21],
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

-- Drops a stored request, all but its kind and its name: see replay.lua.
function job_record.drop_request(q, id)
  local is_read, envelope = pcall(cjson.decode, job_record.envelope_of(q, id))
  if not is_read or type(envelope) ~= 'table' then envelope = {} end
  redis.call('SET', q.prefix .. 'body:' .. id,
    cjson.encode({ k = envelope.k, c = envelope.c, n = envelope.n }) .. '\n{}')
  redis.call('HSET', job_key(q, id), 'body_dropped', '1')
end

return job_record
