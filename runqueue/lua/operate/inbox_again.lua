-- Takes refused lines off inbox:invalid: for good, or back to an inbox.
-- ARGV  now_us, then 2 a line: the refused one as it is stored ('' = in another account's list), the line
--       for this account's inbox ('' = none)
-- Reply how many of them were found: one that another call took meanwhile is skipped.
local INBOX, INVALID = q.prefix .. 'inbox', q.prefix .. 'inbox:invalid'
local found = 0
for i = 2, #q.args, 2 do
  local refused, line = q.args[i], q.args[i + 1]
  if refused == '' or redis.call('LREM', INVALID, 1, refused) == 1 then
    found = found + 1
    if line ~= '' then redis.call('RPUSH', INBOX, line) end
  end
end
return found
