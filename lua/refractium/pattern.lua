-- SPDX-License-Identifier: MIT
-- Whether a string pattern would ever come to an end. The VM matches patterns in C, where nothing could stop it, and
-- some take a time that is exponential in their length. Enters: a text and a pattern. Leaves: whether trying it out, as
-- the VM would, takes more steps than patience allows. What is wrong with a pattern is left to the VM to say.

local error, pcall, tostring, type = error, pcall, tostring, type
local byte, char, find, gsub, sub = string.byte, string.char, string.find, string.gsub, string.sub

local M = {}

local CHEAP = 1e8 -- steps the VM makes in half a second
local PATIENCE, PATIENCE_EACH = 2e6, 100 -- steps of ours; more for each byte of the text
local OVER = {}

local ONE, STAR, PLUS, MINUS, MAYBE, OPEN = 1, 2, 3, 4, 5, 6
local CLOSE, PLACE, BACK, BALANCE, FRONTIER, END = 7, 8, 9, 10, 11, 12
local REPEATS = { ["*"] = STAR, ["+"] = PLUS, ["-"] = MINUS, ["?"] = MAYBE }

-- Reading -----------------------------------------------------------------------------------------------------

-- Bytes that a class, or a set in brackets, stands for: as the VM says itself.
local function bytes_of(class)
  if #class == 1 and class ~= "." then
    return { [byte(class)] = true }
  end
  local set = {}
  for c = 0, 255 do
    set[c] = find(char(c), "^" .. class) ~= nil
  end
  return set
end

local function set_end(p, at)
  local i = at + 1
  if sub(p, i, i) == "^" then
    i = i + 1
  end
  repeat
    local c = sub(p, i, i)
    if c == "" then
      return nil
    end
    i = i + (c == "%" and 2 or 1)
  until sub(p, i, i) == "]"
  return i
end

-- The class that begins at `at`: its last byte, nil where it has no end.
local function class_end(p, at)
  local c = sub(p, at, at)
  if c == "[" then
    return set_end(p, at)
  elseif c == "%" then
    return at < #p and at + 1 or nil
  end
  return at
end

local function special(p, at, items, open)
  local two = sub(p, at, at + 1)
  if two == "()" then
    items[#items + 1] = { kind = PLACE }
    items.n_captures = items.n_captures + 1
    items.is_place[items.n_captures] = true
    return at + 2
  elseif sub(two, 1, 1) == "(" then
    items.n_captures = items.n_captures + 1
    open[#open + 1] = items.n_captures
    items[#items + 1] = { kind = OPEN, n = items.n_captures }
    return at + 1
  elseif sub(two, 1, 1) == ")" then
    local n = open[#open]
    items[#items + 1], open[#open] = { kind = CLOSE, n = n }, nil
    return n and at + 1
  elseif two == "%b" then
    items[#items + 1] = { kind = BALANCE, from = byte(p, at + 2), to = byte(p, at + 3) }
    return at + 3 <= #p and at + 4 or nil
  elseif two == "%f" then
    local last = sub(p, at + 2, at + 2) == "[" and set_end(p, at + 2)
    items[#items + 1] = last and { kind = FRONTIER, set = bytes_of(sub(p, at + 2, last)) } or nil
    return last and last + 1
  elseif find(two, "^%%%d") then
    local n = byte(p, at + 1) - 48
    items[#items + 1] = items.is_place[n] and { kind = ONE, set = {} } or { kind = BACK, n = n } -- a place has no text
    return at + 2
  end
  return 0
end

-- What a pattern is made of; nil when it is none.
local function read(p, at)
  local items, open = { n_captures = 0, is_place = {} }, {}
  while at <= #p do
    if sub(p, at) == "$" then
      items[#items + 1] = { kind = END }
      return items
    end
    local behind = special(p, at, items, open)
    if not behind then
      return nil
    elseif behind > 0 then
      at = behind
    else
      local last = class_end(p, at)
      if not last then
        return nil
      end
      local class = sub(p, at, last)
      local kind = REPEATS[sub(p, last + 1, last + 1)]
      items[#items + 1] = { kind = kind or ONE, set = bytes_of(class) }
      at = last + (kind and 2 or 1)
    end
  end
  return items
end

-- Trying out --------------------------------------------------------------------------------------------------

local function spend(m, n)
  m.left = m.left - n
  if m.left < 0 then
    error(OVER, 0)
  end
end

local function balanced(m, item, at)
  if byte(m.text, at) ~= item.from then
    return nil
  end
  local depth = 1
  for i = at + 1, #m.text do
    spend(m, 1)
    local c = byte(m.text, i)
    if c == item.to then
      depth = depth - 1
      if depth == 0 then
        return i + 1
      end
    elseif c == item.from then
      depth = depth + 1
    end
  end
end

local function is_frontier(m, item, at)
  return not item.set[at > 1 and byte(m.text, at - 1) or 0] and item.set[byte(m.text, at) or 0]
end

local try

local function try_many(m, item, i, at)
  local text, n = m.text, 0
  while item.set[byte(text, at + n) or -1] do
    n = n + 1
  end
  spend(m, n)
  for k = n, item.kind == PLUS and 1 or 0, -1 do
    local last = try(m, i + 1, at + k)
    if last then
      return last
    end
  end
end

local function try_few(m, item, i, at)
  while true do
    local last = try(m, i + 1, at)
    if last or not item.set[byte(m.text, at) or -1] then
      return last
    end
    at = at + 1
  end
end

-- Where a capture begins and ends is taken back when what follows does not fit.
local function try_capture(m, item, i, at)
  local from, to = m.from[item.n], m.to[item.n]
  if item.kind == OPEN then
    m.from[item.n] = at
  else
    m.to[item.n] = at - 1
  end
  local last = try(m, i + 1, at)
  if not last then
    m.from[item.n], m.to[item.n] = from, to
  end
  return last
end

-- Behind the last byte of what fits from item i and byte `at` on, or nil.
function try(m, i, at)
  while true do
    local item = m.items[i]
    spend(m, 1)
    if not item then
      return at
    end
    local kind = item.kind
    if kind == STAR or kind == PLUS then
      return try_many(m, item, i, at)
    elseif kind == MINUS then
      return try_few(m, item, i, at)
    elseif kind == OPEN or kind == CLOSE then
      return try_capture(m, item, i, at)
    elseif kind == END then
      return at == #m.text + 1 and at or nil
    elseif kind == MAYBE then
      local last = item.set[byte(m.text, at) or -1] and try(m, i + 1, at + 1)
      if last then
        return last
      end
    elseif kind == BACK then
      local same = sub(m.text, m.from[item.n] or 1, m.to[item.n] or 0)
      if sub(m.text, at, at + #same - 1) ~= same then
        return nil
      end
      at = at + #same
    elseif kind == BALANCE then
      at = balanced(m, item, at)
      if not at then
        return nil
      end
    elseif kind == FRONTIER then
      if not is_frontier(m, item, at) then
        return nil
      end
    elseif kind == ONE then
      if not item.set[byte(m.text, at) or -1] then
        return nil
      end
      at = at + 1
    end
    i = i + 1
  end
end

---The first place from `at` on that fits, and its end, as string.find would say; with is_all, all of them are tried.
---Raises when patience is over.
function M.scan(text, p, at, is_all)
  local is_anchored = sub(p, 1, 1) == "^"
  local items = read(p, is_anchored and 2 or 1)
  if not items then
    return nil
  end
  local m = { text = text, items = items, from = {}, to = {}, left = PATIENCE + PATIENCE_EACH * #text }
  repeat
    local last = try(m, 1, at)
    if last and not is_all then
      return at, last - 1
    end
    at = last and last > at and last or at + 1
  until is_anchored or at > #text + 1
end

---@param at integer? where to begin
---@param is_all boolean? every place that fits is looked for, not the first
function M.is_endless(text, p, at, is_all)
  if type(text) == "number" then
    text = tostring(text)
  end
  if type(text) ~= "string" or type(p) ~= "string" then
    return false
  end
  local _, n = gsub(p, "[*+?-]", "")
  if (#text + 1) ^ (n + 1) < CHEAP then
    return false
  end
  at = type(at) == "number" and at or 1
  if at < 0 then
    at = #text + at + 1
  end
  local ok, wrong = pcall(M.scan, text, p, at > 1 and at or 1, is_all)
  return not ok and wrong == OVER
end

return M
