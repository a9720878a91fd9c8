-- use: job_record webhooks
-- What a search for an unconfirmed job's run needs to know of the job.
local unconfirmed = {}
local FIELDS = job_record.fields('state', 'claimed', 'no_marker', 'claimed_server_time')

-- Appends to `reply`: id, attempt, since_us, claimed_us ('' = not known), marked (1 | 0: by a process
-- without correlation), on_unconfirmed, cancel ('' = not requested), body, received (1: it asked for a webhook to our
-- receiver), date_us (what the server's own clock showed at the claim, at least; '' = not known). False: the job is not
-- unconfirmed. A body that is no string, which MGET passes over, is ''.
function unconfirmed.describe(q, reply, id)
  local job = job_record.read(q, id)
  if not job or job.state ~= 'unconfirmed' then return false end
  local since = redis.call('ZSCORE', q.prefix .. 'unconfirmed', id) or redis.call('ZSCORE',
    q.prefix .. 'unconfirmed_no_slot', id)
  local f = job_record.read_fields(q, id, FIELDS)
  for _, field in ipairs({ id, int(job.attempt), since or int(q.now), f[2] or '', f[3] and '0' or '1',
    job.on_unconfirmed, job.cancel or '', redis.call('MGET', q.prefix .. 'body:' .. id)[1] or '',
    webhooks.comes_to_us(job) and '1' or '0', f[4] or '' }) do
    reply[#reply + 1] = field
  end
  return true
end

return unconfirmed
