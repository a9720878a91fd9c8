-- use: counters lanes batches save record jobs trail
-- Checks damaged records and lanes again, and puts those that are sound by now back into their indexes.
-- ARGV  now_us, limit.   Reply: how many were sound, or gone (as many as the limit = call again)
-- Members of `damaged`: 'job <id>' ('job stray <run>', too), a job that may be in no index any more, and 'lane <batch>
-- <priority>:<group>', lanes that no claim takes from.
local DAMAGED = PREFIX .. 'damaged'
expect(DAMAGED, 'set')
local INDEXES = {
  'due', 'deadlines', 'suspects', 'unconfirmed', 'parked', 'reconcile', 'poll', 'cancels', 'dead', 'unwanted',
}
for _, zset in ipairs(INDEXES) do expect(PREFIX .. zset, 'zset') end
expect(PREFIX .. 'canceling', 'hash')
pass_when_full()
local found = redis.call('SRANDMEMBER', DAMAGED, ARGV[2])

-- Adds a job to an index that it should be in, unless it is.
local function enter(index, at, id) redis.call('ZADD', PREFIX .. index, 'NX', int(at), id) end

local function bring_back_ready(job)
  expect_lane(job.priority, job.group, lane_of(job))
  if job.deaths >= SUSPECT then
    enter('suspects', NOW, job.id)
  elseif job.batch ~= NO_BATCH and redis.call('EXISTS', batch_key(job.batch)) == 0 then
    end_job(job, 'canceled', { 'reason', 'its batch is gone' })
  else
    push(job.priority, job.group, lane_of(job), { job.id }, true)
  end
end

local BACK = {
  ready = bring_back_ready,
  scheduled = function(job)
    expect_lane(job.priority, job.group, lane_of(job))
    enter('due', number(job_key(job.id), 'run_at', redis.call('HGET', job_key(job.id), 'run_at')) or NOW, job.id)
  end,
  submitting = function(job)
    if redis.call('ZSCORE', PREFIX .. 'claims:' .. (job.process or ''), job.id) then return end
    to_unconfirmed(job, 'its record was damaged')
    note_step(job, 'unconfirmed', 'its record was damaged')
  end,
  unconfirmed = function(job)
    enter(job.slot == '0' and 'parked' or 'unconfirmed', NOW, job.id)
    enter('reconcile', NOW, job.id)
  end,
  running = function(job) enter('poll', NOW, job.id) end,
}

local function bring_back_job(id)
  local job = read_job(id)
  if (job and ENDED[job.state]) or string.sub(id, 1, 6) == 'stray ' then
    ended[#ended + 1] = id -- its turn to be removed has passed
    return
  end
  if not job then return end
  if job.deadline then enter('deadlines', job.deadline, id) end
  if batch_canceled(job.batch) then redis.call('HSETNX', PREFIX .. 'canceling', job.batch, '0') end
  if job.cancel and job.state == 'running' then enter('cancels', NOW, id) end
  -- A claim skips it, and the sweep that was to end it took it out (expire_deadlines.lua).
  if job.cancel and (job.state == 'ready' or job.state == 'scheduled') then enter('unwanted', NOW, id) end
  if BACK[job.state] then BACK[job.state](job) end
end

local function bring_back_lanes(batch, where)
  local priority, group, keys = string.match(where, '^(%d):([^|]*)(.*)$')
  local key = group_key(group)
  expect_lane(priority, group, batch .. keys)
  expect_lane(priority, group, batch .. CANARY .. keys)
  local f = redis.call('HMGET', key, 'cap', 'live')
  number(key, 'cap', f[1])
  number(key, 'live', f[2])
  list_lanes_at(batch, where)
  if redis.call('EXISTS', lanes_key(priority, group)) == 1 then ring_enter(priority, group) end
end

local function bring_back(what)
  local id = string.match(what, '^job (.*)$')
  if id then return bring_back_job(id) end
  bring_back_lanes(string.match(what, '^lane (%S+) (.*)$'))
end

local sound = {}
for _, what in ipairs(found) do
  if try(bring_back, what) then sound[#sound + 1] = what end
end
in_parts('SREM', DAMAGED, sound)
save()
if #sound > 0 and anything_ready() then wake() end
raise_damage()
return #sound
