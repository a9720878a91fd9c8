-- use: trail
-- What a search for the runs of unconfirmed jobs came to, where it found none.
-- ARGV  now_us, searched_us (when the search began), grace_us, spacing_us, then 4 a job: id, attempt, verdict
--       ('negative' | 'unknown'), next_after_us (when to look again)
-- Reply per job: 2 = not unconfirmed any more (ready, canceled or dead), 1 = it stays, 0 = not ours any more
-- Negative counts from `grace` after the job became unconfirmed, and again `spacing` later: a submission
-- may still be on its way. Two of them mean that there is no run. `unknown` says nothing.
-- Then on_unconfirmed decides: auto → ready again; park → stays, for people, without a slot; resubmit → ready
-- again once the grace is over, whatever the search says. A cancel that was asked for forbids it: no run →
-- canceled.
local searched, grace, spacing = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local NEEDED = 2
local reply, looks = {}, {}
for _, zset in ipairs({ 'reconcile', 'suspects', 'dead' }) do expect(PREFIX .. zset, 'zset') end
pass_when_full()

-- Returns how many negatives count now, and when the next one would.
local function count_negative(job)
  local f = redis.call('HMGET', job_key(job.id), 'negatives', 'negative_at')
  local seen, at = tonumber(f[1] or 0), tonumber(f[2] or 0)
  if seen > 0 and searched < at + spacing then return seen, at + spacing end
  redis.call('HSET', job_key(job.id), 'negatives', int(seen + 1), 'negative_at', int(searched))
  return seen + 1, searched + spacing
end

for i = 5, #ARGV, 4 do
  local id, verdict, again = ARGV[i], ARGV[i + 2], NOW + tonumber(ARGV[i + 3])
  local job = read_job(id)
  if not job or job.state ~= 'unconfirmed' or job.attempt ~= tonumber(ARGV[i + 1]) then
    reply[#reply + 1] = 0
  else
    local since = tonumber(redis.call('ZSCORE', PREFIX .. 'unconfirmed', id)
      or redis.call('ZSCORE', PREFIX .. 'parked', id) or int(NOW))
    local is_mature, no_run = NOW >= since + grace, false
    if verdict == 'negative' and searched >= since + grace then
      local seen, due = count_negative(job)
      no_run = seen >= NEEDED
      again = math.min(again, due)
    elseif not is_mature then
      again = math.min(again, since + grace)
    end
    local leaves = no_run and (job.on_unconfirmed ~= 'park' or job.cancel)
      or (is_mature and job.on_unconfirmed == 'resubmit' and not job.cancel)
    if leaves then
      no_longer_unconfirmed(job)
      note_step(job, 'no_run', no_run and 'two searches found none' or 'on_unconfirmed is resubmit')
      ready_again(job, true)
      bump(totals, 'resubmitted', job.state == 'ready' and 1 or 0)
      reply[#reply + 1] = 2
    else
      if no_run and job.slot ~= '0' then park(job, int(since)) end
      looks[#looks + 1] = int(math.max(again, NOW))
      looks[#looks + 1] = id
      reply[#reply + 1] = 1
    end
  end
end
if #looks > 0 then redis.call('ZADD', PREFIX .. 'reconcile', 'XX', unpack(looks)) end
save()
if anything_ready() then wake() end
return reply
