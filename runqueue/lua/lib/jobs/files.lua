-- Uploaded files serve one run each: the first job that names one holds it, until its record goes.
local FILES = PREFIX .. 'files'

-- True for a job that may have used its files: it is open, or it had a run.
local function uses_files(id)
  local f = redis.call('HMGET', job_key(id), 'state', 'run_id', 'earlier', 'runs')
  if not f[1] then return false end
  local had_none = not f[2] and not f[3] and tonumber(f[4] or 0) == 0
  return not (had_none and (f[1] == 'dead' or f[1] == 'canceled'))
end

-- The other job that holds one of a job's files, and that file; nil if there is none.
local function other_holder(names, id)
  for i, owner in ipairs(redis.call('HMGET', FILES, unpack(names))) do
    if owner and owner ~= id and uses_files(owner) then return owner, names[i] end
  end
  return nil
end

local function hold_files(names, id)
  local entries = {}
  for _, file in ipairs(names) do
    entries[#entries + 1] = file
    entries[#entries + 1] = id
  end
  redis.call('HSET', FILES, unpack(entries))
end
