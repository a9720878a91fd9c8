-- use: counters batches
-- Records the outcomes of callbacks: delivered, abandoned, or another try.
-- ARGV  now_us, then 7 a callback: batch, event, tries (as they were when it was taken), verdict ('again' | 'delivered'
--       | 'abandoned'), was_tried (0 | 1), error, wait_us (until the next try, counts with 'again')
-- Reply per callback: 1 = recorded, 0 = it does not wait any more, or was recorded before
local CALLBACKS = q.prefix .. 'callbacks'
local reply = {}

local function end_callback(batch, event, verdict, happened_at)
  local key = batches.key(q, batch)
  redis.call('HDEL', key, 'callback:' .. event)
  redis.call('ZREM', CALLBACKS, batch .. ' ' .. event)
  -- An operator may send it again (callback_again.lua): when it happened stays.
  if verdict == 'abandoned' then redis.call('HSET', key, 'abandoned:' .. event, happened_at) end
  redis.call('HINCRBY', key, 'callbacks:' .. verdict, 1)
  redis.call('HINCRBY', key, 'callbacks:pending', -1)
  counters.bump(q.totals, 'callbacks:' .. verdict, 1)
  -- The last callback that kept the batch's record, although all of its jobs are gone.
  local retired = redis.call('HGET', key, 'retired')
  if retired and tonumber(retired) >= batches.size(q, batch) then batches.drop(q, batch) end
end

local function record(i)
  local batch, event, verdict, words = q.args[i], q.args[i + 1], q.args[i + 3], q.args[i + 5]
  local key, code = batches.key(q, batch), 0
  local tries, at = string.match(redis.call('HGET', key, 'callback:' .. event) or '', '^(%d+) (%d+)$')
  -- Two processes may have sent it, since the first one's lease was over: a success counts from either.
  if tries and (tries == q.args[i + 2] or verdict == 'delivered') then
    if words ~= '' then redis.call('HSET', key, 'callback_error', words) end
    if verdict == 'again' then
      redis.call('HSET', key, 'callback:' .. event, int(tonumber(tries) + tonumber(q.args[i + 4])) .. ' ' .. at)
      redis.call('ZADD', CALLBACKS, int(q.now + tonumber(q.args[i + 6])), batch .. ' ' .. event)
    else
      -- The error is removed once all have arrived.
      if verdict == 'delivered' and not redis.call('HGET', key, 'callbacks:abandoned') then
        redis.call('HDEL', key, 'callback_error')
      end
      end_callback(batch, event, verdict, at)
    end
    code = 1
  end
  reply[#reply + 1] = code
end
for i = 2, #q.args, 7 do record(i) end
return reply
