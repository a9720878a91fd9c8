-- use: counters lanes batches changes job_record jobs trail
-- Checks damaged records and lanes again, and puts those that are sound by now back into their indexes.
-- ARGV  now_us, limit.   Reply: how many were sound, or gone (as many as the limit = call again)
-- Members of `damaged`: 'job <id>' ('job stray <run>', too), a job that may be in no index any more, and 'lane <batch>
-- <priority>:<group>', lanes that no claim takes from.
counters.open(q)
local DAMAGED = q.prefix .. 'damaged'
expect(DAMAGED, 'set')
local INDEXES = {
  'due', 'deadlines', 'suspects', 'unconfirmed', 'parked', 'reconcile', 'poll', 'cancels', 'dead', 'unwanted',
}
for _, zset in ipairs(INDEXES) do expect(q.prefix .. zset, 'zset') end
expect(q.prefix .. 'canceling', 'hash')
local found = redis.call('SRANDMEMBER', DAMAGED, q.args[2])

-- Adds a job to an index that it should be in, unless it is.
local function enter(index, at, id) redis.call('ZADD', q.prefix .. index, 'NX', int(at), id) end

local function bring_back_ready(job)
  lanes.expect_lane(q, job.priority, job.group, lanes.of(job))
  if job.deaths >= jobs.SUSPECT then
    enter('suspects', q.now, job.id)
  elseif job.batch ~= NO_BATCH and redis.call('EXISTS', batches.key(q, job.batch)) == 0 then
    jobs.end_job(q, job, 'canceled', { 'reason', 'its batch is gone' })
  else
    lanes.push(q, job.priority, job.group, lanes.of(job), { job.id }, true)
  end
end

local BACK = {
  ready = bring_back_ready,
  scheduled = function(job)
    lanes.expect_lane(q, job.priority, job.group, lanes.of(job))
    enter('due', number(job_key(q, job.id), 'run_at', redis.call('HGET', job_key(q, job.id), 'run_at')) or q.now,
      job.id)
  end,
  submitting = function(job)
    if redis.call('ZSCORE', q.prefix .. 'claims:' .. (job.process or ''), job.id) then return end
    jobs.to_unconfirmed(q, job, 'its record was damaged')
    trail.add(q, job, 'unconfirmed', 'its record was damaged')
  end,
  unconfirmed = function(job)
    enter(job.slot == '0' and 'parked' or 'unconfirmed', q.now, job.id)
    enter('reconcile', q.now, job.id)
  end,
  running = function(job) enter('poll', q.now, job.id) end,
}

local function bring_back_job(id)
  local job = job_record.read(q, id)
  if (job and ENDED[job.state]) or string.sub(id, 1, 6) == 'stray ' then
    q.ended_ids[#q.ended_ids + 1] = id -- its turn to be removed has passed
    return
  end
  if not job then return end
  if job.deadline then enter('deadlines', job.deadline, id) end
  if lanes.batch_canceled(q, job.batch) then redis.call('HSETNX', q.prefix .. 'canceling', job.batch, '0') end
  if job.cancel and job.state == 'running' then enter('cancels', q.now, id) end
  -- A claim skips it, and the sweep that was to end it took it out (expire_deadlines.lua).
  if job.cancel and (job.state == 'ready' or job.state == 'scheduled') then enter('unwanted', q.now, id) end
  if BACK[job.state] then BACK[job.state](job) end
end

local function bring_back_lanes(batch, where)
  local priority, group, keys = string.match(where, '^(%d):([^|]*)(.*)$')
  local key = lanes.group_key(q, group)
  lanes.expect_lane(q, priority, group, batch .. keys)
  lanes.expect_lane(q, priority, group, batch .. lanes.CANARY .. keys)
  local f = redis.call('HMGET', key, 'cap', 'live')
  number(key, 'cap', f[1])
  number(key, 'live', f[2])
  lanes.list_lanes_at(q, batch, where)
  if redis.call('EXISTS', lanes.list_key(q, priority, group)) == 1 then lanes.ring_enter(q, priority, group) end
end

local function bring_back(what)
  local id = string.match(what, '^job (.*)$')
  if id then return bring_back_job(id) end
  bring_back_lanes(string.match(what, '^lane (%S+) (.*)$'))
end

local sound = {}
for _, what in ipairs(found) do
  if try(q, bring_back, what) then sound[#sound + 1] = what end
end
in_parts('SREM', DAMAGED, sound)
changes.save(q)
if #sound > 0 and lanes.anything_ready(q) then lanes.wake(q) end
raise_damage(q)
return #sound
