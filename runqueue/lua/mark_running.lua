-- use: times trust runs lists trail
-- A run_id is known: submitting | unconfirmed → running; it is never refused (it costs money).
-- ARGV  now_us, guess (1 = these runs were told by their requests only), then 5 a job: id, attempt, run_id,
--       run_status, poll_after_us (longer for one whose end a webhook, or a list of live runs, will tell)
-- Reply per job: 1 = adopted, 0 = known already, 2 = stray (the job has moved on, or is gone),
--       3 = the run is another job's (a search for an equal request found it first): the job, if it waits
--       for this answer, is unconfirmed now, for the other's run may be its own,
--       4 = the job has moved on, and the run was only a guess: nothing came of it
local reply, polls, looks = {}, {}, {}
expect(PREFIX .. 'poll', 'zset')
expect(LISTED, 'zset')
for _, zset in ipairs({ 'stray_looks', 'unconfirmed', 'reconcile' }) do expect(PREFIX .. zset, 'zset') end
expect(PREFIX .. 'strays', 'hash')
pass_when_full()

for i = 3, #ARGV, 5 do
  local id, attempt, run_id = ARGV[i], tonumber(ARGV[i + 1]), ARGV[i + 2]
  local job = read_job(id)
  local code = 1
  -- Binding the run tells whether it is anybody's: of one that is nobody's, which is usual, no owner is read.
  local may_adopt = job and job.run_id ~= run_id and adopts(job, attempt)
  local is_bound = may_adopt and redis.call('HSETNX', runs_key(run_id), run_id, id) == 1
  local owner = not is_bound and redis.call('HGET', runs_key(run_id), run_id)
  if job and (job.run_id == run_id or owner == id) then
    code = 0
  elseif owner and owner ~= id then
    code = 3
    if job and job.state == 'submitting' and job.attempt == attempt then
      to_unconfirmed(job, 'its run was taken for another job')
      note_step(job, 'unconfirmed', 'its run was taken for another job')
      remove_later('claims:' .. (job.process or ''), id)
    end
  elseif not may_adopt and ARGV[2] == '1' then
    code = 4
  elseif not may_adopt then
    code = 2
    bump(totals, 'fenced:mark_running', 1)
    if add_stray(run_id, id, ARGV[i + 1], job and ('job was ' .. job.state) or 'job is gone') then
      looks[#looks + 1] = int(NOW + tonumber(ARGV[i + 4]))
      looks[#looks + 1] = run_id
    end
  else
    if job.state == 'unconfirmed' then note_step(job, 'found', run_id) end
    adopt(job, attempt, run_id, ARGV[i + 3], is_bound)
    local left_alone = comes_to_us(job) and patience() or 0
    local after = math.min(math.max(tonumber(ARGV[i + 4]), left_alone), job.max_run or math.huge)
    local is_listed = left_alone == 0 and may_join(NOW, NOW, job.max_run)
    polls[#polls + 1] = int(is_listed and join(id, NOW, job.max_run) or NOW + after)
    polls[#polls + 1] = id
  end
  reply[#reply + 1] = code
end
in_parts('ZADD', PREFIX .. 'poll', polls)
in_parts('ZADD', STRAY_LOOKS, looks)
save_joins()
note_adopted()
save()
return reply
