-- use: runs trust
-- What webhooks of Skyvern's tell, each sent to the address of one attempt. The end of a run → completed | failed |
-- canceled, at once; a run that we did not know yet (the submission's answer is lost, or on its way) is adopted.
-- ARGV  now_us, then 8 a webhook: id, attempt, run_id, run_status, state (the end; '' = the run goes on), signed
--       ('<signature> <timestamp>' as they came), final (1 = the job's `retry` was asked), body
-- Reply per webhook, a word:
--       ended     it ended the job
--       noted     the run goes on
--       duplicate the end is known, as is that of an earlier attempt's run; a body that the user still waits for
--                 is kept
--       policy    followed by the policy's JSON and the number of runs: a bad end of a job that may be run again.
--                 Nothing is recorded of the end; ask with final = 1, or retry_run.lua
--       stray     the job has moved on: the run is shown as nobody's
--       other     the run is another job's: nothing was recorded
--       unknown   no such job: nothing was recorded
local PER_WEBHOOK = 8
local POLICY_LEASE = 15000000
local reply, polls = {}, {}
for _, zset in ipairs({ 'poll', 'relays', 'watches', 'unconfirmed', 'reconcile', 'stray_looks' }) do
  expect(PREFIX .. zset, 'zset')
end
expect(PREFIX .. 'strays', 'hash')
pass_when_full()

-- The run was seen to be over by a poll, or its end was told before. Its first body that Skyvern signed is what the
-- user gets; one that is being sent now is not sent twice.
local function keep_body(job, run_id, signed, body)
  if job.run_id ~= run_id or job.via ~= 'relay' or job.delivery ~= 'pending' then return end
  local f = redis.call('HMGET', job_key(job.id), 'signed', 'sending')
  if f[1] then return end
  redis.call('SET', PREFIX .. 'webhook:' .. job.id, body, 'PX', int(8 * DAY / 1000))
  redis.call('HSET', job_key(job.id), 'signed', signed)
  if tonumber(f[2] or 0) <= NOW then
    redis.call('ZADD', PREFIX .. 'relays', int(NOW), job.id)
    relays_due = true
  end
end

local function told_of_own(job, run_status, state, signed, final, body)
  if state == '' then
    redis.call('HSET', job_key(job.id), 'run_status', run_status)
    return 'noted'
  end
  local retry = state == 'failed' and not final and redis.call('HGET', job_key(job.id), 'retry')
  if retry then return { 'policy', retry, int(job.runs) } end
  webhook_came(job)
  end_with_run(job, state, run_status, '', body, signed)
  return 'ended'
end

for i = 2, #ARGV, PER_WEBHOOK do
  local id, attempt, run_id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local run_status, state, signed = ARGV[i + 3], ARGV[i + 4], ARGV[i + 5]
  local final, body = ARGV[i + 6] == '1', ARGV[i + 7]
  local job = read_job(id)
  local owner = redis.call('HGET', runs_key(run_id), run_id)
  local verdict
  if not job then
    verdict = 'unknown'
  elseif owner and owner ~= id then
    verdict = 'other'
  elseif owner == id or job.run_id == run_id then
    if job.state == 'running' and job.run_id == run_id then
      verdict = told_of_own(job, run_status, state, signed, final, body)
    else
      if state ~= '' then
        keep_body(job, run_id, signed, body)
        if redis.call('ZSCORE', STRAY_LOOKS, run_id) then stray_is_over(run_id) end
      end
      verdict = 'duplicate'
    end
  elseif adopts(job, attempt) then
    adopt(job, attempt, run_id, run_status)
    -- It came to us, whatever the record says (or a Redis that lost the claim does not say).
    if not comes_to_us(job) then
      local line = string.match(redis.call('GET', PREFIX .. 'body:' .. id) or '', '^[^\n]*')
      job.via = string.find(line, ',"webhook_url":"', 1, true) and 'relay' or 'push'
      redis.call('HSET', job_key(id), 'via', job.via)
    end
    verdict = told_of_own(job, run_status, state, signed, final, body)
    if verdict ~= 'ended' then
      polls[#polls + 1] = int(NOW + math.max(POLICY_LEASE, type(verdict) == 'string' and patience() or 0))
      polls[#polls + 1] = id
    end
  else
    local fresh = add_stray(run_id, id, int(attempt), 'job was ' .. job.state)
    if state == '' and fresh then
      redis.call('ZADD', STRAY_LOOKS, int(NOW + POLICY_LEASE), run_id)
    elseif state ~= '' and redis.call('ZSCORE', STRAY_LOOKS, run_id) then
      stray_is_over(run_id)
    end
    verdict = 'stray'
  end
  reply[#reply + 1] = verdict
end
in_parts('ZADD', PREFIX .. 'poll', polls)
note_adopted()
save()
save_trust()
if relays_due then wake_relay() end
return reply
