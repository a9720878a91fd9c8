-- use: trail
-- Nobody knows whether a run exists: submitting → unconfirmed. The job keeps its slot and is looked for.
-- ARGV  now_us, then 4 a job: id, attempt, reason, trouble (1 = the server or the way to it failed)
-- Reply per job: 1 = unconfirmed, 0 = not ours any more (another state or attempt)
-- Ten troubles in a row, with no acceptance between them, open the breaker that all workers share.
local BREAKER, FIRST_OPEN, LONGEST_OPEN = 10, 5000000, 60000000
local reply, troubles, words = {}, 0, ''
expect(PREFIX .. 'unconfirmed', 'zset')
expect(PREFIX .. 'reconcile', 'zset')
pass_when_full()
local function record(i)
  local job = read_job(ARGV[i])
  if job and job.state == 'submitting' and job.attempt == tonumber(ARGV[i + 1]) then
    to_unconfirmed(job, ARGV[i + 2])
    remove_later('claims:' .. (job.process or ''), job.id)
    note_step(job, 'unconfirmed', ARGV[i + 2])
    if ARGV[i + 3] == '1' then troubles, words = troubles + 1, ARGV[i + 2] end
    bump(totals, 'submissions:unknown', 1)
    reply[#reply + 1] = 1
  else
    bump(totals, 'fenced:mark_unconfirmed', 1)
    reply[#reply + 1] = 0
  end
end
for i = 2, #ARGV, 4 do try(record, i) end
count_trouble('troubles', troubles, BREAKER, FIRST_OPEN, LONGEST_OPEN, words)
save()
raise_damage()
return reply
