-- The record of a job, and of its runs.
local job_record = {}
job_record.OCCUPIED = 'Browser session %S+ is already occupied by ' -- as in api_client/answers/occupied.py

-- Fields that scripts read together; `state` is the first, and missing if there is no such job. `numbers` = the places
-- of those that have to be numbers.
local IS_NUMBER = { attempt = true, started = true, deadline = true, runs = true, deaths = true, ready_at = true,
  created = true, max_run = true, begun = true, cancel_since = true, claimed = true, ended = true, tries = true,
  looks = true, forced = true, past_runs = true, run_at = true, paused_since = true, approving_until = true }
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
job_record.STILL_LIVE = job_record.fields('state', 'attempt', 'webhook_route', 'started', 'max_run', 'begun',
  'run_status')
job_record.CANCELED = job_record.fields('state', 'attempt', 'run_id', 'cancel_since', 'run_status', 'cancel')
job_record.DELIVERED = job_record.fields('state', 'attempt', 'run_id', 'run_status', 'webhook_route', 'tries', 'looks',
  'forced',
  'ended', 'signed', 'url', 'delivery')
job_record.RETIRED = job_record.fields('state', 'ended', 'run_id', 'batch', 'priority', 'webhook_route', 'delivery',
  'attempt')
job_record.ORPHANED = job_record.fields('state', 'digest', 'group', 'batch', 'max_steps', 'keys')
job_record.TIMED = job_record.fields('state', 'run_id', 'started', 'begun', 'max_run')
job_record.TAKEN = job_record.fields('state', 'attempt', 'process')
job_record.REQUEST = job_record.fields('state', 'attempt', 'run_id', 'request_match')

-- Reads a job, its fields by their names and with their defaults; nil: there is no such job. The whole record is dearer
-- to read by the names of its fields.
function job_record.read(q, id)
  local f = redis.pcall('HGETALL', job_key(q, id))
  if f.err then return unreadable(q, id, f.err) end
  local job = {}
  for i = 1, #f, 2 do
    local field, value = f[i], f[i + 1]
    if IS_NUMBER[field] and not tonumber(value) then return unreadable(q, id, 'its ' .. field .. ' is no number') end
    job[field] = value
  end
  if not job.state then return nil end
  job.id, job.since = id, job.ready_at or job.created
  job.priority, job.group, job.batch = job.priority or '2', job.group or 'default', job.batch or NO_BATCH
  job.attempt, job.runs, job.deaths = tonumber(job.attempt or 0), tonumber(job.runs or 0), tonumber(job.deaths or 0)
  job.max_run = job.max_run and tonumber(job.max_run)
  job.on_unconfirmed = job.on_unconfirmed or 'auto'
  return job
end

function job_record.runs_key(q, run_id)
  return q.prefix .. 'runs:' .. string.sub(redis.sha1hex(run_id), 1, 4)
end

-- The last attempts before this one stay on the record, a line each, the newest first: '<attempt> <claimed_us>
-- <started_us> <ended_us> <run status> <usage of the job until then> <category> <run> <reason>', '-' = not known.
local MOST_PAST, LONGEST_REASON = 20, 160
local function past_lines(q, job, f, status, reason)
  local parts = { int(job.attempt), f[2] or '-', f[3] or '-', int(f[4] or q.now), status or job.run_status or '-',
    job.new_usage or job.new_steps and job.new_steps .. ':::' or job.usage or '-', job.new_category or job.category or '-',
    job.run_id, (string.gsub(string.sub(reason or job.reason or '', 1, LONGEST_REASON), '%c', ' ')) }
  for at, part in ipairs(parts) do
    if part == '' then parts[at] = '-' end
  end
  local lines = { table.concat(parts, ' ') }
  for line in string.gmatch(f[5] or '', '[^\n]+') do
    if #lines < MOST_PAST then lines[#lines + 1] = line end
  end
  return table.concat(lines, '\n')
end

-- An ended run stays bound to its job, although the job gets another: it is never taken for a later one.
function job_record.keep_earlier(q, job, status, reason)
  if not job.run_id then return end
  local f = redis.call('HMGET', job_key(q, job.id), 'earlier', 'taken', 'started', 'ended', 'past')
  redis.call('HSET', job_key(q, job.id), 'earlier', (f[1] and f[1] .. ' ' or '') .. job.run_id,
    'ran', int(job.attempt), 'past', past_lines(q, job, f, status, reason))
end

-- The first line of a stored request, its envelope: of very long ones alone more than the beginning is read.
function job_record.envelope_of(q, id)
  local key = q.prefix .. 'body:' .. id
  local head = redis.call('GETRANGE', key, 0, 16383)
  if #head == 16384 and not string.find(head, '\n', 1, true) then head = redis.call('GET', key) end
  return string.match(head, '^[^\n]*')
end

local function read_envelope(q, id)
  local is_read, envelope = pcall(cjson.decode, job_record.envelope_of(q, id))
  return is_read and type(envelope) == 'table' and envelope or {}
end

-- Drops a stored request, all but its kind and its name: see replay.lua.
function job_record.drop_request(q, id)
  local envelope = read_envelope(q, id)
  redis.call('SET', q.prefix .. 'body:' .. id,
    cjson.encode({ k = envelope.k, c = envelope.c, n = envelope.n }) .. '\n{}')
  redis.call('HSET', job_key(q, id), 'body_dropped', '1')
end

-- Leaves of an ended job what lists show; the archive has the rest. Written anew, the record takes a third of the
-- memory: a long field had it become a hash table.
local ARCHIVED = { 'reason', 'history', 'past', 'url', 'delivery_error', 'signed', 'taken', 'begun', 'ready_at', 'retry', 'forced',
  'asked', 'claimed_server_time', 'keys', 'tries', 'delivery_at', 'delivery_status', 'webhook_route' }
function job_record.leave_to_archive(q, id)
  local key, envelope = job_key(q, id), read_envelope(q, id)
  redis.call('HDEL', key, unpack(ARCHIVED))
  local record = redis.call('HGETALL', key)
  redis.call('DEL', key, q.prefix .. 'body:' .. id, q.prefix .. 'result:' .. id, q.prefix .. 'webhook:' .. id)
  redis.call('HSET', key, 'archived', envelope.k or 't', unpack(record))
  if envelope.c then redis.call('HSET', key, 'custom_id', envelope.c) end
  if envelope.n then redis.call('HSET', key, 'namespace', envelope.n) end
end

-- The envelope of such a job.
function job_record.envelope_left(q, id)
  local f = redis.call('HMGET', job_key(q, id), 'archived', 'custom_id', 'namespace')
  return f[1] and cjson.encode({ k = f[1], c = f[2] or nil, n = f[3] or nil }) or ''
end

return job_record
