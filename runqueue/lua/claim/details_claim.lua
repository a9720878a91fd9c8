-- use: counters active_consumers
-- Takes workflow runs whose details are to be read (run_figures.lua). Each is due again after `lease_us` unless it is
-- recorded; one that was read three times in vain, or for an hour, is abandoned.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), lease_us
-- Reply { 'stale' | 'fenced', now_us } or { 'ok', now_us, next_us, consumer_left (0 | 1), the runs }
local process, want, tick_us, lease = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), tonumber(q.args[5])
local DETAILS, OF, MOST_TRIES, MOST_US = q.prefix .. 'run_details', q.prefix .. 'run_details_of', 3, 3600000000
local refused = active_consumers.enter(q, 'details', process, tick_us)
if refused then return refused end

local reply, taken = { 'ok', int(q.now), '0', 0 }, 0
local due = want > 0 and redis.call('ZRANGEBYSCORE', DETAILS, '-inf', int(q.now), 'LIMIT', 0, want) or {}
for _, run_id in ipairs(due) do
  local head, budgets_of = string.match(redis.call('HGET', OF, run_id) or '', '^([^\n]*)(.*)$')
  local job_id, its_run, since, tries = string.match(head, '^(%S+) (%S+) (%d+) (%d+)$')
  if job_id and tonumber(tries) < MOST_TRIES and q.now - tonumber(since) < MOST_US then
    redis.call('ZADD', DETAILS, int(q.now + lease), run_id)
    redis.call('HSET', OF, run_id, table.concat({ job_id, its_run, since, tries + 1 }, ' ') .. budgets_of)
    reply[#reply + 1] = run_id
    taken = taken + 1
  else
    redis.call('ZREM', DETAILS, run_id)
    redis.call('HDEL', OF, run_id)
    counters.bump(q.totals, 'details:abandoned', 1)
  end
end
if want > 0 and taken == 0 and #due < want then
  active_consumers.leave(q, 'details', process)
  reply[4] = 1
end
return reply
