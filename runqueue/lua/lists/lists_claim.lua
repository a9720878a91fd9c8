-- use: active_consumers run_lists
-- Takes the reading of the list of live runs, if it is due; one process at a time, for the time of its lease.
-- ARGV  now_us, process, want (0 = only refresh), tick_us (0 = not the first), lease_us, least_us (shorter
--       runs are cheaper to poll one by one)
-- Reply { 'stale' | 'fenced', now_us } or
--       { 'ok', now_us, next_us, consumer_left (0 | 1), taken (0 | 1; 2 = lists are not worth it any more, see
--         lists_end.lua), run_mean_us, run_floor_us (0 = not known), ended_us (when a
--         run was last seen to be over, 0 = never), then the ids of orphan runs that may still be live }
local process, want, tick_us, lease = q.args[2], tonumber(q.args[3]), tonumber(q.args[4]), tonumber(q.args[5])
local DUE_SOON, MAX_ORPHANS = 1000000, 1000
local refused = active_consumers.enter(q, 'list', process, tick_us)
if refused then return refused end

local f = redis.call('HMGET', q.meta, 'list_at', 'list_by', 'list_until', 'run_mean', 'run_floor', 'run_ended')
local lists, next_us, consumer_left, taken, live_orphans = run_lists.read(q), 0, 0, 0, {}
local is_short = lists.mean and lists.mean < tonumber(q.args[6])
local is_no_help = is_short or redis.call('ZCARD', q.prefix .. 'listed') < run_lists.FEW
if lists.on then
  local is_others = f[2] and f[2] ~= process and tonumber(f[3] or 0) > q.now
  next_us = is_others and tonumber(f[3]) or tonumber(f[1] or 0)
  if want > 0 and next_us <= q.now then
    taken, next_us = is_no_help and 2 or 1, 0
    redis.call('HSET', q.meta, 'list_by', process, 'list_until', int(q.now + lease))
    live_orphans = redis.call('ZRANGE', q.prefix .. 'orphan_polls', 0, MAX_ORPHANS - 1)
  end
end
if want > 0 and taken == 0 and (next_us == 0 or next_us > q.now + DUE_SOON) then
  active_consumers.leave(q, 'list', process)
  consumer_left = 1
end
return { 'ok', int(q.now), int(next_us), consumer_left, taken, f[4] or '0', f[5] or '0', f[6] or '0',
  unpack(live_orphans) }
