-- An unconfirmed job that is older than any run may be gives its slot back: whatever run it had is
-- over. It stays unconfirmed, for a late answer or a person.
-- ARGV  now_us, max_run_us, limit.   Reply: how many gave their slot back (the limit = ask again)
expect(PREFIX .. 'unconfirmed', 'zset')
expect(PREFIX .. 'parked', 'zset')
pass_when_full()
if clock_is_stale() then return 0 end
local before = int(NOW - tonumber(ARGV[2]))
local found = redis.call('ZRANGEBYSCORE', PREFIX .. 'unconfirmed', '-inf', before, 'WITHSCORES',
  'LIMIT', 0, ARGV[3])
for i = 1, #found, 2 do
  local id, since = found[i], found[i + 1]
  local job = read_job(id)
  if job and job.state == 'unconfirmed' then
    park(job, since)
  else
    redis.call('ZREM', PREFIX .. 'unconfirmed', id)
  end
end
save()
return #found / 2
