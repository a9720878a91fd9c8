-- use: intake
-- flags: no-writes
-- Says what enqueue.lua would reply, and stores nothing.
-- ARGV  now_us, then 4 a job as there   Reply as there
return (intake.read(q, 2, NO_BATCH))
