-- SPDX-License-Identifier: MIT
-- What every reader of Lua text has to step over: long brackets and comments.
-- Enters: a text and the place where one begins. Leaves: the place of its last byte.

local byte, find, match = string.byte, string.find, string.match

local M = {}

local BRACKET = 91

-- End of a long bracket that opens at `at`, or nil when none opens there.
local function long_end(text, at)
  local level = match(text, "^%[(=*)%[", at)
  if not level then
    return nil
  end
  local _, last = find(text, "]" .. level .. "]", at, true)
  return last or #text
end

M.long_end = long_end

---`at` is the first of the two dashes.
function M.comment_end(text, at)
  local last = byte(text, at + 2) == BRACKET and long_end(text, at + 2)
  return last or (find(text, "[\n\r]", at) or #text + 1) - 1
end

return M
