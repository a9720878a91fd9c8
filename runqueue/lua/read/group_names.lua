-- use: groups
-- flags: no-writes
-- Names the groups that have settings, and those that have ready jobs.
-- ARGV  now_us, how many at most
-- Reply the names
return groups.some_groups(q, tonumber(q.args[2]))
