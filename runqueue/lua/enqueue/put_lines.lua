-- use: schedules
-- flags: refused-when-full
-- Stores a chunk of a file of lines; the last one is empty. The file lasts two days, or as long as a schedule names it.
-- ARGV  now_us, name (of the file), place (0 = the first), chunk.   Reply: how many chunks it has
return schedules.put_lines(q, q.args[2], tonumber(q.args[3]), q.args[4])
