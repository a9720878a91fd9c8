-- use: webhooks webhook_health run_lists
-- When a run is polled next. worker/poll_times.py says after how long (`after`, microseconds), by settings and age; here
-- it is later for a run that a webhook (webhook_health.grace) or a list (run_lists.join) will report.
local poll_times = {}
-- After a webhook that gave no final end, and of an orphan run that a webhook reported.
poll_times.AFTER_WEBHOOK = 15000000
local ORPHAN_SHARE = 10 -- an orphan run is polled again after a tenth of its age

-- First, of a run that was accepted or found just now.
function poll_times.first(q, job, after)
  local left_alone = webhooks.comes_to_us(job) and webhook_health.grace(q) or 0
  if left_alone == 0 and run_lists.may_join(q, q.now, q.now, job.max_run) then
    return run_lists.join(q, job.id, q.now, job.max_run)
  end
  return q.now + math.min(math.max(after, left_alone), job.max_run or math.huge)
end

-- Of a run that a poll saw live: where a webhook will report its end, after a quarter of its age, but not beyond the
-- job's own `max_run`. `f` = job_record.STILL_LIVE; `begun` = when its current attempt began, 0 = as before.
function poll_times.again(q, f, after, begun)
  if not webhooks.comes_to_us({ webhook_route = f[3] }) or webhook_health.grace(q) == 0 then return q.now + after end
  local since = math.max(tonumber(f[4]), tonumber(f[6] or 0), begun)
  local left = f[5] and since + tonumber(f[5]) - q.now or math.huge
  return q.now + math.max(after, math.min(math.floor((q.now - tonumber(f[4])) / 4), left))
end

-- Of a run that its webhook reported first, live or with an end that is not final.
function poll_times.after_webhook(q, is_live)
  return q.now + math.max(poll_times.AFTER_WEBHOOK, is_live and webhook_health.grace(q) or 0)
end

-- Of an orphan run that is polled now; `last` = when it frees its slot at the latest.
function poll_times.of_orphan(q, since, lease, last)
  return math.min(q.now + math.max(lease, math.floor((q.now - since) / ORPHAN_SHARE)), last)
end

return poll_times
