-- SPDX-License-Identifier: MIT
-- From a key path to a line: `routes`, 3, `to` of the verb called on line 31 stands on line 40.
-- Enters: the config's text, the line of a call (the line of its opening brace, as the VM knows it), and a path
-- into the table written there. Leaves: the line of the deepest part of the path that is written out in the
-- text; what was computed elsewhere is pointed at by the key that holds it.
-- This reads tokens, not Lua: it only has to tell keys, nesting and function bodies apart in text that compiled.

local lex = require "refractium.lex"

local byte, find, gsub, match, sub = string.byte, string.find, string.gsub, string.match, string.sub
local floor, setmetatable, tonumber, type = math.floor, setmetatable, tonumber, type

local comment_end, long_end = lex.comment_end, lex.long_end

local M = {}
M.__index = M

local NEWLINE, DASH, BRACKET, QUOTE, APOSTROPHE = 10, 45, 91, 34, 39

local function count_lines(text, from, to)
  local n = 0
  local at = find(text, "\n", from, true)
  while at and at <= to do
    n = n + 1
    at = find(text, "\n", at + 1, true)
  end
  return n
end

local function short_string_end(text, at, quote)
  local i = at + 1
  while i <= #text do
    local c = byte(text, i)
    if c == quote then
      return i
    end
    i = i + (c == 92 and 2 or 1)
  end
  return #text
end

local function number_or_operator_end(text, at)
  local _, last = find(text, "^%.?%d[%w_%.]*", at)
  if not last then
    _, last = find(text, "^[=~<>]=", at)
  end
  if not last then
    _, last = find(text, "^%.%.%.?", at)
  end
  return last or at
end

-- The token at `at`: its kind and last byte. Kinds: "name", "string", "other"; nil for comments.
local function token_at(text, at)
  local _, last = find(text, "^[%a_\128-\255][%w_\128-\255]*", at)
  if last then
    return "name", last
  end
  local c = byte(text, at)
  if c == QUOTE or c == APOSTROPHE then
    return "string", short_string_end(text, at, c)
  elseif c == DASH and byte(text, at + 1) == DASH then
    return nil, comment_end(text, at)
  elseif c == BRACKET then
    last = long_end(text, at)
    if last then
      return "string", last
    end
  end
  return "other", number_or_operator_end(text, at)
end

-- Parallel arrays: one allocation for each token's text and nothing else.
local function tokenise(text)
  local kinds, texts, lines = {}, {}, {}
  local n, line, at = 0, 1, 1
  while true do
    local c = byte(text, at)
    if not c then
      break
    elseif c == NEWLINE then
      line = line + 1
      at = at + 1
    elseif c <= 32 then
      at = at + 1
    else
      local kind, last = token_at(text, at)
      if kind then
        n = n + 1
        kinds[n], texts[n], lines[n] = kind, sub(text, at, last), line
      end
      if kind ~= "name" and last - at > 1 then
        line = line + count_lines(text, at, last)
      end
      at = last + 1
    end
  end
  return { kinds = kinds, texts = texts, lines = lines, n = n }
end

---@param text string the config
function M.new(text)
  return setmetatable({ text = text }, M)
end

function M:tokens()
  if not self.parsed then
    self.parsed = tokenise(self.text)
  end
  return self.parsed
end

local OPENS = { ["("] = true, ["["] = true, ["{"] = true }
local CLOSES = { [")"] = true, ["]"] = true, ["}"] = true }
local BLOCK_OPENS = { ["function"] = true, ["do"] = true, ["if"] = true, ["repeat"] = true }
local BLOCK_CLOSES = { ["end"] = true, ["until"] = true }

-- How a token changes the depth. Commas inside brackets or function bodies separate nothing of ours.
local function depth_change(kind, text)
  if kind == "other" then
    return OPENS[text] and 1 or CLOSES[text] and -1 or 0
  elseif kind == "name" then
    return BLOCK_OPENS[text] and 1 or BLOCK_CLOSES[text] and -1 or 0
  end
  return 0
end

-- Index of the "," ";" or "}" that ends the entry beginning at token i.
local function entry_end(t, i)
  local depth = 0
  while i <= t.n do
    local text = t.texts[i]
    if depth == 0 and t.kinds[i] == "other" and (text == "," or text == ";" or text == "}") then
      return i
    end
    depth = depth + depth_change(t.kinds[i], text)
    i = i + 1
  end
  return i
end

local ESCAPES = { n = "\n", t = "\t", r = "\r", a = "\a", b = "\b", f = "\f", v = "\v" }

-- The content of a string token, as far as keys and names need it.
local function unquote(text)
  local level = match(text, "^%[(=*)%[")
  if level then
    return sub(text, #level + 3, -#level - 3)
  end
  return (gsub(sub(text, 2, -2), "\\(.)", function(c) return ESCAPES[c] or c end))
end

-- The key an entry begins with: key, index of its value's first token. nil: a positional entry.
-- A key that is computed is false: known to be there, not to be what anybody looks for.
local function entry_key(t, i)
  local kind, text = t.kinds[i], t.texts[i]
  if kind == "name" and t.texts[i + 1] == "=" then
    return text, i + 2
  elseif kind == "other" and text == "[" then
    local depth, close = 1, i + 1
    while close <= t.n do
      depth = depth + depth_change(t.kinds[close], t.texts[close])
      if depth == 0 then
        break
      end
      close = close + 1
    end
    local key = false
    if close == i + 2 then
      key = t.kinds[i + 1] == "string" and unquote(t.texts[i + 1]) or tonumber(t.texts[i + 1]) or false
    end
    return key, close + 2
  end
  return nil, i
end

-- Calls visit(key, first token of the entry, first token of its value) for each entry of the constructor whose
-- "{" is token i, until visit returns true.
local function each_entry(t, i, visit)
  local position = 0
  i = i + 1
  while i <= t.n and not (t.kinds[i] == "other" and t.texts[i] == "}") do
    local key, first = entry_key(t, i)
    if key == nil then
      position = position + 1
      key = position
    end
    if visit(key, i, first) then
      return
    end
    i = entry_end(t, first)
    if t.texts[i] ~= "}" then
      i = i + 1
    end
  end
end

local function is_brace(t, i)
  return t.kinds[i] == "other" and t.texts[i] == "{"
end

-- Follows the path from the constructor at token i: the last token reached, and whether all of it was found.
local function follow(t, i, path)
  local reached, brace = nil, i
  for depth = 1, #path do
    local entry, value
    each_entry(t, brace, function(key, first, start)
      if key == path[depth] then
        entry, value = first, start
      end
    end)
    if not entry then
      return reached, false
    end
    reached = entry
    if depth < #path and not is_brace(t, value) then
      return reached, false
    end
    brace = value
  end
  return reached, true, brace
end

-- Token after the bracket that closes the one at i.
local function after(t, i)
  local depth = 0
  while i <= t.n do
    depth = depth + depth_change(t.kinds[i], t.texts[i])
    i = i + 1
    if depth == 0 then
      return i
    end
  end
  return i
end

-- The "{" of the options, when token i opens a call's arguments.
local function options_at(t, i)
  if is_brace(t, i) then
    return i
  elseif t.texts[i] == "(" and is_brace(t, i + 1) then
    return i + 1
  end
  return nil
end

-- The options' "{" for the verb named at token i: verb { ... }, verb NAME { ... }, with or without parentheses.
local function options_after(t, i, declaration)
  if declaration.verb == "server" then
    return options_at(t, i + 1)
  end
  local name = i + 1
  if t.texts[name] == "(" then
    if t.kinds[name + 1] == "string" and unquote(t.texts[name + 1]) ~= declaration.name
      and type(declaration.name) == "string" then
      return nil
    end
    return options_at(t, after(t, name))
  elseif t.kinds[name] == "string" then
    if type(declaration.name) == "string" and unquote(t.texts[name]) ~= declaration.name then
      return nil
    end
    return options_at(t, name + 1)
  elseif is_brace(t, name) then
    return options_at(t, after(t, name))
  end
  return nil
end

-- A call's "{" or "(" on the line: what follows a value directly, not an operator or a keyword.
local BEFORE_VALUE = { ["return"] = true, ["and"] = true, ["or"] = true, ["not"] = true, ["in"] = true }

local function is_call(t, i)
  local kind, text = t.kinds[i - 1], t.texts[i - 1]
  if kind == "string" or kind == "name" then
    return not BEFORE_VALUE[text]
  end
  return kind == "other" and CLOSES[text] or false
end

-- First token at or after `line` (tokens are in order of lines).
local function first_on(t, line)
  local low, high = 1, t.n + 1
  while low < high do
    local middle = low + floor((high - low) / 2)
    if t.lines[middle] < line then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- The "{" of a declaration's options. The VM gives the line of the brace (or parenthesis); the verb may stand
-- on an earlier line, or the options may come from a function of the config (then: any call on that line).
local function find_options(t, declaration)
  local line = declaration.line
  local start = first_on(t, line)
  local i = first_on(t, line - 3)
  while i <= t.n and t.lines[i] <= line do
    if t.kinds[i] == "name" and t.texts[i] == declaration.verb then
      local brace = options_after(t, i, declaration)
      local opens = brace and (t.texts[brace - 1] == "(" and brace - 1 or brace)
      if brace and t.lines[opens] == line then
        return brace
      end
    end
    i = i + 1
  end
  for k = start, t.n do
    if t.lines[k] > line then
      break
    end
    local brace = is_call(t, k) and options_at(t, k)
    if brace then
      return brace
    end
  end
  return nil
end

local function brace_of(self, declaration)
  if declaration.brace == nil then
    declaration.brace = find_options(self:tokens(), declaration) or false
  end
  return declaration.brace
end

---The line where `path` of this declaration is written; the call's own when nothing of it can be found.
---@param declaration table with verb, name and line
---@param path table list of keys: strings, or numbers for positions
function M:line(declaration, path)
  local brace = declaration.line and brace_of(self, declaration)
  if not brace then
    return declaration.line
  end
  local t = self:tokens()
  local reached = follow(t, brace, path)
  return reached and t.lines[reached] or declaration.line
end

---Lines of all entries of the list at `path`, by position, in one walk.
function M:entries(declaration, path)
  local lines = {}
  local brace = declaration.line and brace_of(self, declaration)
  if not brace then
    return lines
  end
  local t = self:tokens()
  local _, found, value = follow(t, brace, path)
  if found and is_brace(t, value) then
    each_entry(t, value, function(key, first)
      if type(key) == "number" then
        lines[key] = t.lines[first]
      end
    end)
  end
  return lines
end

return M
