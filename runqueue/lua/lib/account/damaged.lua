-- What an error says that a record cannot be read for: of a page that lists records one is damaged, and the others are told.
local function words_of(err)
  return type(err) == 'table' and err.err or tostring(err)
end
