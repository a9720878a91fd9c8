-- The text of the error for which a record cannot be read: a page with a damaged record still shows the others.
local damaged = {}
function damaged.words_of(err)
  return type(err) == 'table' and err.err or tostring(err)
end

return damaged
