-- use: counters
-- Runs whose ends the list of live runs shows (`listed`, by when they joined). Each is still in `poll`, at its latest
-- time: if no process reads lists any more, all of them are polled one by one again. So a due member of both was
-- missing from a list, is to be confirmed as canceled, or is overdue: it is polled (GET).
-- Fields of meta: lists_on (1), list_reach (runs begun before are on no page that the server has; absent = all are),
-- lists_max_run (what any run may take), list_at (when the next list is due), list_by and list_until (the process
-- reading one now, and its lease), list_off (no lists until then), list_fails (in a row), run_mean.
local run_lists = {}
local BACKSTOP = 600000000
-- As many runs as 100 pages show; so many live runs that lists are worth it; fewer than that end them.
run_lists.MOST_LISTED, run_lists.MANY, run_lists.FEW = 10000, 10, 5
local LET_GO = 500

function run_lists.read(q)
  if q.lists then return q.lists end
  local f = redis.call('HMGET', q.meta, 'lists_on', 'lists_max_run', 'run_mean', 'list_off', 'list_reach')
  q.lists = { on = f[1] == '1', max_run = tonumber(f[2] or 0), mean = tonumber(f[3]), off = tonumber(f[4] or 0),
    reach = tonumber(f[5] or 0),
    room = f[1] == '1' and run_lists.MOST_LISTED - redis.call('ZCARD', q.prefix .. 'listed') or 0 }
  return q.lists
end

-- True for a run that may be left to lists; a run that no list reaches may not.
-- `since` = when its time began to count, `limit` = how long that is (absent = the account's).
function run_lists.may_join(q, started, since, limit)
  local lists = run_lists.read(q)
  return lists.on and lists.room > 0 and started >= lists.reach
    and (since or started) + (limit or lists.max_run) > q.now
end

-- Returns when it is polled if no list shows its end.
function run_lists.join(q, id, since, limit)
  local lists = run_lists.read(q)
  lists.room = lists.room - 1
  q.list_joins[#q.list_joins + 1] = int(q.now)
  q.list_joins[#q.list_joins + 1] = id
  return math.min(q.now + math.max(BACKSTOP, 3 * (lists.mean or 0)), since + (limit or lists.max_run))
end

function run_lists.save_joins(q)
  in_parts('ZADD', q.prefix .. 'listed', q.list_joins)
  q.list_joins = {}
end

-- Returns runs to polling one by one, some of them now. Returns how many these are.
function run_lists.stop(q)
  redis.call('HDEL', q.meta, 'lists_on', 'list_at', 'list_by', 'list_until', 'list_reach')
  local ids, due = redis.call('ZRANGE', q.prefix .. 'listed', 0, LET_GO - 1), {}
  for _, id in ipairs(ids) do
    due[#due + 1] = int(q.now)
    due[#due + 1] = id
    counters.remove_later(q, 'listed', id)
  end
  if #due > 0 then redis.call('ZADD', q.prefix .. 'poll', 'XX', 'LT', unpack(due)) end
  return #ids
end

return run_lists
