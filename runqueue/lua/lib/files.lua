-- Uploaded files serve one run each: the first job that names one holds it, until its record goes.
local FILES = PREFIX .. 'files'

-- The other job that holds a file; nil if there is none. One that ended without any run has used nothing.
local function file_owner(file, id)
  local owner = redis.call('HGET', FILES, file)
  if not owner or owner == id then return nil end
  local f = redis.call('HMGET', job_key(owner), 'state', 'run_id', 'earlier', 'runs')
  local used_none = not f[2] and not f[3] and tonumber(f[4] or 0) == 0
  if not f[1] or (used_none and (f[1] == 'dead' or f[1] == 'canceled')) then return nil end
  return owner
end

local function hold_files(files, id)
  for file in string.gmatch(files, '%S+') do redis.call('HSET', FILES, file, id) end
end
