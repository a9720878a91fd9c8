-- use: groups
-- Names the groups that have settings, and those that have ready jobs.
-- ARGV  now_us, how many at most
-- Reply the names
return some_groups(tonumber(ARGV[2]))
