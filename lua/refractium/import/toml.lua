-- SPDX-License-Identifier: MIT
-- A reader of TOML 1.0 (https://toml.io/en/v1.0.0), strict: what the language forbids is an error with its line.
-- Enters: a text. Leaves: a tree (tree.lua), or an error { line, text }.
-- Not done: dates are checked for their form alone, UTF-8 not at all; integers beyond 2^53 are exact as text only.

local tree = require "refractium.import.tree"

local ipairs, setmetatable, tonumber = ipairs, setmetatable, tonumber
local byte, char, concat, find, floor, format, gsub, match, sub =
  string.byte, string.char, table.concat, string.find, math.floor, string.format, string.gsub, string.match, string.sub

local DEPTH_MAX = 64

local reader = {}
reader.__index = reader

function reader:fail(text, ...)
  tree.fail(self.line, text, ...)
end

function reader:peek(n)
  return sub(self.text, self.at, self.at + (n or 1) - 1)
end

-- What a pattern (anchored with "^") matches here, consumed; nil when it does not.
function reader:eat(pattern)
  local _, last, capture = find(self.text, pattern, self.at)
  if not last then
    return nil
  end
  local all = sub(self.text, self.at, last)
  self.at = last + 1
  return capture or all
end

function reader:newline()
  if self:eat("^\r?\n") then
    self.line = self.line + 1
    return true
  end
  return false
end

function reader:is_done()
  return self.at > #self.text
end

function reader:blank()
  self:eat("^[ \t]+")
  local comment = self:eat("^#[^\r\n]*")
  if comment and find(comment, "[%z\1-\8\11-\31\127]") then
    self:fail("a control character in a comment")
  end
end

-- White space, comments and line ends: inside arrays and between lines.
function reader:space()
  repeat
    self:blank()
  until not self:newline()
end

function reader:what()
  local c = self:peek()
  if c == "" then
    return "the end of the file"
  elseif find(c, "[%c\128-\255]") then
    return format("byte 0x%02x", byte(c))
  end
  return format('"%s"', c)
end

-- Strings --------------------------------------------------------------------------------------------------------

local ESCAPES = { b = "\b", t = "\t", n = "\n", f = "\f", r = "\r", ['"'] = '"', ["\\"] = "\\" }

-- RFC 3629.
local function utf8(code)
  if code < 0x80 then
    return char(code)
  elseif code < 0x800 then
    return char(0xc0 + floor(code / 0x40), 0x80 + code % 0x40)
  elseif code < 0x10000 then
    return char(0xe0 + floor(code / 0x1000), 0x80 + floor(code / 0x40) % 0x40, 0x80 + code % 0x40)
  end
  return char(0xf0 + floor(code / 0x40000), 0x80 + floor(code / 0x1000) % 0x40, 0x80 + floor(code / 0x40) % 0x40,
    0x80 + code % 0x40)
end

function reader:escape(is_multiline)
  local c = self:eat("^[btnfr\"\\]")
  if c then
    return ESCAPES[c]
  end
  local digits = self:eat("^u(%x%x%x%x)") or self:eat("^U(%x%x%x%x%x%x%x%x)")
  if digits then
    local code = tonumber(digits, 16)
    if code > 0x10ffff or (code >= 0xd800 and code <= 0xdfff) then
      self:fail("\\u%s is no character", digits)
    end
    return utf8(code)
  elseif is_multiline and find(self.text, "^[ \t]*\r?\n", self.at) then
    self:eat("^[ \t]+")
    while self:newline() do
      self:eat("^[ \t]+")
    end
    return ""
  end
  self:fail("no such escape: \\%s", match(self:peek(), "%g") or "")
end

-- Up to the closing quotes; `quote` is one of them, an escape is read where `escapes`.
function reader:string(quote, escapes)
  local out = {}
  local stop = escapes and '^[^"\\%z\1-\8\10-\31\127]+' or "^[^'%z\1-\8\10-\31\127]+"
  while true do
    local run = self:eat(stop)
    if run then
      out[#out + 1] = run
    elseif self:eat("^" .. quote) then
      return concat(out)
    elseif escapes and self:eat("^\\") then
      out[#out + 1] = self:escape(false)
    elseif self:is_done() or find(self.text, "^\r?\n", self.at) then
      self:fail("a string without its closing %s", quote)
    else
      self:fail("%s in a string", self:what())
    end
  end
end

function reader:long_string(quote, escapes)
  local out = {}
  local stop = escapes and '^[^"\\%z\1-\8\10-\31\127]+' or "^[^'%z\1-\8\10-\31\127]+"
  self:newline() -- one right behind the opening quotes is not part of it
  while true do
    local run = self:eat(stop)
    if run then
      out[#out + 1] = run
    elseif self:newline() then
      out[#out + 1] = "\n"
    elseif escapes and self:eat("^\\") then
      out[#out + 1] = self:escape(true)
    else
      local quotes = self:eat("^" .. quote .. "+")
      if not quotes then
        self:fail(self:is_done() and "a string without its closing quotes" or "%s in a string", self:what())
      elseif #quotes > 5 then
        self:fail("more than five quotes in a row")
      elseif #quotes >= 3 then
        out[#out + 1] = sub(quotes, 4)
        return concat(out)
      end
      out[#out + 1] = quotes
    end
  end
end

-- Values ---------------------------------------------------------------------------------------------------------

local RADIX = { { "^0x(%x[%x_]*)$", 16 }, { "^0o([0-7][0-7_]*)$", 8 }, { "^0b([01][01_]*)$", 2 } }

local DATES = {
  "^%d%d%d%d%-%d%d%-%d%d$", "^%d%d:%d%d:%d%d%.?%d*$",
  "^%d%d%d%d%-%d%d%-%d%d[Tt ]%d%d:%d%d:%d%d%.?%d*$",
  "^%d%d%d%d%-%d%d%-%d%d[Tt ]%d%d:%d%d:%d%d%.?%d*[Zz]$",
  "^%d%d%d%d%-%d%d%-%d%d[Tt ]%d%d:%d%d:%d%d%.?%d*[-+]%d%d:%d%d$",
}

local function number(word)
  if find(word, "^_") or find(word, "_$") or find(word, "__", 1, true) then
    return nil
  end
  for _, form in ipairs(RADIX) do
    local digits = match(word, form[1])
    if digits then
      return tonumber((gsub(digits, "_", "")), form[2])
    end
  end
  if find(word, "[^%d]_") or find(word, "_[^%d]") then
    return nil
  end
  local bare = gsub(word, "_", "")
  local whole = match(bare, "^[-+]?(%d+)$") or match(bare, "^[-+]?(%d+)%.%d+$")
    or match(bare, "^[-+]?(%d+)[eE][-+]?%d+$") or match(bare, "^[-+]?(%d+)%.%d+[eE][-+]?%d+$")
  if whole and not find(whole, "^0%d") then
    return tonumber((gsub(bare, "^%+", "")))
  elseif find(bare, "^[-+]?inf$") then
    return find(bare, "^-") and -1 / 0 or 1 / 0
  elseif find(bare, "^[-+]?nan$") then
    return 0 / 0
  end
end

function reader:word()
  local word = self:eat("^[%w_+.:-]+")
  -- A date and a time may be parted by one space.
  if word and find(word, "^%d%d%d%d%-%d%d%-%d%d$") and find(self.text, "^ %d%d:", self.at) then
    word = word .. self:eat("^ [%w_+.:-]+")
  end
  if not word then
    self:fail("a value is missing before %s", self:what())
  elseif word == "true" or word == "false" then
    return tree.scalar("boolean", word == "true", self.line, word)
  end
  local n = number(word)
  if n then
    return tree.scalar("number", n, self.line, word)
  end
  for _, form in ipairs(DATES) do
    if find(word, form) then
      return tree.scalar("other", word, self.line, word)
    end
  end
  self:fail('"%s" is no value (a string needs quotes)', word)
end

function reader:array(depth)
  local list = tree.list(self.line)
  self.at = self.at + 1
  while true do
    self:space()
    if self:eat("^%]") then
      return list
    end
    list.items[#list.items + 1] = self:value(depth + 1)
    self:space()
    if not self:eat("^,") and self:peek() ~= "]" then
      self:fail("%s where a comma or ] belongs", self:what())
    end
  end
end

function reader:inline_table(depth)
  local node = tree.table(self.line)
  self.at = self.at + 1
  self:blank()
  if not self:eat("^}") then
    repeat
      self:blank()
      self:pair(node, depth + 1)
      self:blank()
    until not self:eat("^,")
    if not self:eat("^}") then
      self:fail("%s where a comma or } belongs", self:what())
    end
  end
  self.closed[node] = true
  return node
end

function reader:value(depth)
  if depth > DEPTH_MAX then
    self:fail("nested too deeply")
  end
  local line = self.line
  local v
  if self:eat('^"""') then
    v = self:long_string('"', true)
  elseif self:eat('^"') then
    v = self:string('"', true)
  elseif self:eat("^'''") then
    v = self:long_string("'", false)
  elseif self:eat("^'") then
    v = self:string("'", false)
  elseif self:peek() == "[" then
    local list = self:array(depth)
    self.closed[list] = true
    return list
  elseif self:peek() == "{" then
    return self:inline_table(depth)
  else
    return self:word()
  end
  return tree.scalar("string", v, line, v)
end

-- Keys and tables ------------------------------------------------------------------------------------------------

function reader:key()
  local parts = {}
  repeat
    self:eat("^[ \t]+")
    local part
    if self:eat('^"') then
      part = self:string('"', true)
    elseif self:eat("^'") then
      part = self:string("'", false)
    else
      part = self:eat("^[%w_-]+")
    end
    if not part then
      self:fail("a key is missing before %s", self:what())
    end
    parts[#parts + 1] = part
    self:eat("^[ \t]+")
  until not self:eat("^%.")
  if #parts > DEPTH_MAX then
    self:fail("nested too deeply")
  end
  return parts
end

-- The table behind a key, made when there is none. `by` says who makes it: dotted keys may add to tables of their
-- like only, and headers not to what dotted keys made.
function reader:step(node, key, by)
  local next_node = node.map[key]
  if not next_node then
    next_node = tree.table(self.line)
    node:put(key, next_node)
    self.made[next_node] = by
    return next_node
  elseif next_node.kind == "list" and by == "header" and self.made[next_node] then
    return next_node.items[#next_node.items]
  elseif next_node.kind ~= "table" or self.closed[next_node] or (by == "dotted" and self.made[next_node] ~= by) then
    self:fail('"%s" is given already, in line %d', key, next_node.line)
  end
  return next_node
end

function reader:pair(node, depth)
  local key = self:key()
  if not self:eat("^=") then
    self:fail("%s where = belongs", self:what())
  end
  self:eat("^[ \t]+")
  for i = 1, #key - 1 do
    node = self:step(node, key[i], "dotted")
  end
  node:put(key[#key], self:value(depth))
end

-- [a.b]
function reader:header(root)
  local key, node = self:key(), root
  for i = 1, #key - 1 do
    node = self:step(node, key[i], "header")
  end
  local name = key[#key]
  local old = node.map[name]
  if not old then
    old = tree.table(self.line)
    node:put(name, old)
  elseif old.kind ~= "table" or self.made[old] ~= "header" or self.opened[old] or self.closed[old] then
    self:fail('"%s" is given already, in line %d', name, old.line)
  end
  self.made[old], self.opened[old] = "header", true
  return old
end

-- [[a.b]]
function reader:list_header(root)
  local key, node = self:key(), root
  for i = 1, #key - 1 do
    node = self:step(node, key[i], "header")
  end
  local name = key[#key]
  local list = node.map[name]
  if not list then
    list = tree.list(self.line)
    node:put(name, list)
    self.made[list] = "header"
  elseif list.kind ~= "list" or self.made[list] ~= "header" then
    self:fail('"%s" is given already, in line %d', name, list.line)
  end
  local item = tree.table(self.line)
  self.made[item], self.opened[item] = "header", true
  list.items[#list.items + 1] = item
  return item
end

function reader:document()
  local root = tree.table(1)
  local node = root
  while true do
    self:space()
    if self:is_done() then
      return root
    elseif self:eat("^%[%[") then
      node = self:list_header(root)
      if not self:eat("^%]%]") then
        self:fail("%s where ]] belongs", self:what())
      end
    elseif self:eat("^%[") then
      node = self:header(root)
      if not self:eat("^%]") then
        self:fail("%s where ] belongs", self:what())
      end
    else
      self:pair(node, 1)
    end
    self:blank()
    if not self:newline() and not self:is_done() then
      self:fail("%s where the line should end", self:what())
    end
  end
end

---@param text string
---@return table tree
return function(text)
  text = gsub(text, "^\239\187\191", "")
  return setmetatable({ text = text, at = 1, line = 1, made = {}, opened = {}, closed = {} }, reader):document()
end
