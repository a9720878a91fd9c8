-- Another Redis server answers (a restart, a failover): goes on with it if nothing was lost, else holds
-- the account until a person resumes it.
-- ARGV  now_us, sequence (the highest claim sequence this process saw; '' = it remembers none)
-- Reply 1 = accepted, 0 = claims were lost: submitting again could double their runs
local FOR_A_PERSON = 3650 * DAY
pass_when_full()
local server = string.match(redis.call('INFO', 'server'), 'run_id:(%w+)')
local stored = tonumber(redis.call('HGET', META, 'sequence') or 0)
local remembered = tonumber(ARGV[2] ~= '' and ARGV[2] or '0')
if stored < remembered then
  redis.call('HDEL', META, 'hold_probe')
  redis.call('HSET', META, 'hold_person', '1', 'hold_until', int(NOW + FOR_A_PERSON), 'hold_reason',
    'Redis lost claims (' .. int(stored) .. ' of ' .. int(remembered) .. ' known): check the runs of '
    .. 'the last minutes, then `runqueue resume`')
  return 0
end
redis.call('HSET', META, 'run_id', server)
return 1
