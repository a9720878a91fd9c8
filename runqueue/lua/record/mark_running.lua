-- use: counters job_record orphans jobs runs history request_matches poll_times
-- A run_id is known: submitting | unconfirmed → running; it is never dropped (it costs money).
-- ARGV  now_us, how they were found (0 = by the answer to the submission, 1 = by their requests only: a match
--       by request, 2 = by the attempt's own marker, which the run shows, 3 = a match by request for jobs to be canceled, too:
--       every other equal job has a run), then 5 a job: id, attempt, run_id, run_status, poll_after_us (longer if a
--       webhook or a list of live runs will report its end)
-- Reply per job: 1 = adopted, 0 = known already, 2 = orphan run (the job has moved on, or is gone),
--       3 = the run is another job's (a search for an equal request found it first, and it has ended): the job, if it
--       waits for this answer, is unconfirmed now, for the other's run may be its own,
--       4 = the job has moved on, or the run is taken, and it was only a match by request: nothing changed,
--       5 = adopted, by swapping it for a match by request (lib/runs/request_matches.lua), or for what an answer had
--       given another job although the run shows this one's marker
local reply = {}
local by_marker, also_canceled = q.args[2] == '2', q.args[2] == '3'
local by_request = q.args[2] == '1' or also_canceled

local due, due_text -- the same for most jobs of a call
local function schedule_poll(job, poll_after)
  local at = poll_times.first(q, job, tonumber(poll_after))
  if at ~= due then due, due_text = at, int(at) end
  counters.put_later(q, 'poll', due_text, job.id)
end

local function take_on(job, attempt, run_id, run_status, poll_after)
  local claimed, date, since
  if by_request then
    local f = redis.call('HMGET', job_key(q, job.id), 'claimed', 'claimed_server_time')
    claimed, date = f[1], f[2]
    since = redis.call('ZSCORE', q.prefix .. 'unconfirmed', job.id)
      or redis.call('ZSCORE', q.prefix .. 'unconfirmed_no_slot', job.id)
  end
  schedule_poll(job, poll_after)
  if job.state == 'unconfirmed' then
    history.add(q, job, 'found', run_id .. (by_request and ', matched by request' or ''))
  end
  runs.adopt(q, job, attempt, run_id, run_status)
  if by_request then request_matches.record_request_match(q, job, run_id, claimed, since) end
  if date then redis.call('HSET', job_key(q, job.id), 'claimed_server_time', date) end -- its run may be searched again
end

local function record(i)
  local id, attempt, run_id, run_status = q.args[i], tonumber(q.args[i + 1]), q.args[i + 2], q.args[i + 3]
  local poll_after = q.args[i + 4]
  local job = job_record.read(q, id)
  local code = 1
  local may_adopt = job and job.run_id ~= run_id and runs.adopts(q, job, attempt)
    and not (by_request and job.cancel and not also_canceled)
  local owner = redis.call('HGET', job_record.runs_key(q, run_id), run_id)
  local is_known = job and (job.run_id == run_id or owner == id)
  local taker, its_run, matched
  if not is_known and not by_request then
    taker, its_run, matched = request_matches.correct_request_match(q, job, attempt, run_id, owner, may_adopt,
      by_marker)
  end
  if is_known then
    code = 0
    -- An earlier call may have failed before it was in the index (changes.lua).
    if job.state == 'running' and not redis.call('ZSCORE', q.prefix .. 'poll', id) then schedule_poll(job, poll_after) end
  elseif taker then
    code = 5
    local is_same = its_run == run_id
    take_on(taker, taker.attempt, its_run, is_same and run_status or 'running', is_same and poll_after or 0)
    if matched then request_matches.leave_late_run(q, job, attempt, matched, tonumber(poll_after)) end
  elseif owner and owner ~= id and by_request then
    code = 4
  elseif owner and owner ~= id then
    code = 3
    if job and job.state == 'submitting' and job.attempt == attempt then
      jobs.to_unconfirmed(q, job, 'its run was taken for another job')
      history.add(q, job, 'unconfirmed', 'its run was taken for another job')
      counters.remove_later(q, 'claims:' .. (job.process or ''), id)
    end
  elseif not may_adopt and by_request then
    code = 4
  elseif not may_adopt then
    code = 2
    counters.bump(q.totals, 'fenced:mark_running', 1)
    if orphans.add(q, run_id, id, q.args[i + 1], job and ('job was ' .. job.state) or 'job is gone') then
      counters.put_later(q, 'orphan_polls', int(q.now + tonumber(poll_after)), run_id)
    end
  else
    take_on(job, attempt, run_id, run_status, poll_after)
  end
  reply[#reply + 1] = code
end

for i = 3, #q.args, 5 do record(i) end
return reply
