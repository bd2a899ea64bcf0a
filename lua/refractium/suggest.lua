-- SPDX-License-Identifier: MIT
-- "Did you mean": the known word closest to a mistyped one.
-- Enters: the word and a list of known ones. Leaves: the best candidate, or a ready-made hint for a message.
-- Runs only on the way to an error, so clarity beats speed.

local abs, floor, max, min = math.abs, math.floor, math.max, math.min
local byte, format, lower = string.byte, string.format, string.lower

local M = {}

---Damerau-Levenshtein distance (restricted): insertions, deletions, substitutions, and swaps of neighbours.
function M.distance(a, b)
  local n, m = #a, #b
  local before, previous = {}, {}
  for j = 0, m do
    previous[j] = j
  end
  for i = 1, n do
    local row = { [0] = i }
    local x = byte(a, i)
    for j = 1, m do
      local y = byte(b, j)
      local best = min(previous[j] + 1, row[j - 1] + 1, previous[j - 1] + (x == y and 0 or 1))
      if i > 1 and j > 1 and x == byte(b, j - 1) and y == byte(a, i - 1) then
        best = min(best, before[j - 2] + 1)
      end
      row[j] = best
    end
    before, previous = previous, row
  end
  return previous[m]
end

-- Short words allow one slip, longer ones one in three letters: "tsl" is "tls", but "ssh" is not "sip".
local function allowed(word)
  return max(1, floor(#word / 3))
end

---The closest of `candidates`, or nil when none is close. Ties go to the first in the list.
function M.closest(word, candidates)
  local best, best_distance
  local folded = lower(word)
  for i = 1, #candidates do
    local candidate = candidates[i]
    if abs(#candidate - #word) <= allowed(word) then
      local d = M.distance(folded, lower(candidate))
      if d <= allowed(word) and (not best or d < best_distance) then
        best, best_distance = candidate, d
      end
    end
  end
  return best
end

---' (did you mean "web"?)', or "" when nothing is close.
function M.hint(word, candidates)
  local best = type(word) == "string" and #word <= 64 and M.closest(word, candidates)
  return best and format(' (did you mean "%s"?)', best) or ""
end

return M
