-- Uploaded files serve one run each: the first job that names one holds it, until its record goes.
local files = {}

-- True for a job that may have used its files: it is open, or it had a run.
local function uses_files(q, id)
  local f = redis.call('HMGET', job_key(q, id), 'state', 'run_id', 'earlier', 'runs')
  if not f[1] then return false end
  local had_none = not f[2] and not f[3] and tonumber(f[4] or 0) == 0
  return not (had_none and (f[1] == 'dead' or f[1] == 'canceled'))
end

-- The other job that holds one of a job's files, and that file; nil if there is none.
function files.other_holder(q, names, id)
  for i, owner in ipairs(redis.call('HMGET', q.prefix .. 'files', unpack(names))) do
    if owner and owner ~= id and uses_files(q, owner) then return owner, names[i] end
  end
  return nil
end

function files.hold_files(q, names, id)
  local entries = {}
  for _, file in ipairs(names) do
    entries[#entries + 1] = file
    entries[#entries + 1] = id
  end
  redis.call('HSET', q.prefix .. 'files', unpack(entries))
end

return files
