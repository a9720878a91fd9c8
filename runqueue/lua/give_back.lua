-- A claim whose submission surely created no run goes back to the head of its lane, at no cost:
-- submitting | unconfirmed → ready (canceled if that was asked for, dead if its time was up meanwhile).
-- Unconfirmed as well: the only process that had this attempt says late, but for certain, that no run
-- came of it.
-- ARGV  now_us, why ('void' | 'not_sent' | 'busy' | 'account'), wait_us (what the server asked for, 0 = nothing),
--       reason (shown while the account is held), then 2 a job: id, attempt
-- Reply per job: 1 = given back, 0 = not ours any more (another state or attempt)
-- not_sent and busy hold the account's submissions for 1 s doubling to 60 s, or for what the server
-- asked; account holds them for 60 s and then lets one job through to see. 'void' holds nothing.
local why, wait_us, reason = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local FIRST_HOLD, LONGEST_HOLD, ACCOUNT_HOLD = 1000000, 60000000, 60000000
local reply, given = {}, 0
pass_when_full()

-- Many calls fail at once: only the first after the last hold has ended doubles the step.
local function hold()
  local f = redis.call('HMGET', META, 'hold_until', 'hold_step', 'hold_person')
  if f[3] then return end
  local until_us, step = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if until_us <= NOW then step = math.min(math.max(step * 2, FIRST_HOLD), LONGEST_HOLD) end
  local wait = (why == 'account') and ACCOUNT_HOLD or step
  redis.call('HSET', META, 'hold_step', int(step))
  local longer = NOW + math.max(wait, wait_us)
  -- The reason shown is that of the hold which ends last.
  if longer > until_us then redis.call('HSET', META, 'hold_until', int(longer), 'hold_reason', reason) end
  if why == 'account' then redis.call('HSET', META, 'hold_probe', '1') end
end

-- The last first, each to the head: the jobs of one claim stand in their old order again.
for i = #ARGV - 1, 5, -2 do
  local job, at = read_job(ARGV[i]), (i - 3) / 2
  if job and may_leave(job, ARGV[i + 1]) then
    if job.cancel then
      end_without_run(job)
    else
      redis.call('HDEL', job_key(job.id), 'process', 'reason')
      count_state(job, 'ready')
      redis.call('HSET', job_key(job.id), 'state', 'ready')
      push(job.priority, job.group, job.batch, { job.id }, true)
    end
    given = given + 1
    reply[at] = 1
  else
    reply[at] = 0
  end
end
bump(totals, 'given_back:' .. why, given)
-- Sent again because its reply was lost, it gives nothing back and holds no longer.
if why ~= 'void' and given > 0 then hold() end
save()
return reply
