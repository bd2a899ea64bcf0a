-- SPDX-License-Identifier: MIT
-- sslh's regular expressions as protocols: what begins with certain bytes, what contains them, and what begins with a
-- row of byte classes. Everything else is left to the user, with a comment.

local out = require "refractium.import.out"

local ipairs = ipairs
local byte, char, find, format, gsub, match, sub =
  string.byte, string.char, string.find, string.format, string.gsub, string.match, string.sub

local M = {}

local SPECIAL = "[%^%$%*%+%?%.%(%)%[%]%{%}|\\]"

-- "ab\.c" → "ab.c"; nil when anything but escaped punctuation is special. A bare dot is a dot with a word of warning.
local function literal(text)
  local dots = 0
  local rest = gsub(text, "\\([%p])", function(c) return format("\1%03d", byte(c)) end)
  if find(text, "\1", 1, true) then
    return nil
  end
  rest = gsub(rest, "%.", function()
    dots = dots + 1
    return "\1" .. "046"
  end)
  if find(rest, SPECIAL) then
    return nil
  end
  return (gsub(rest, "\1(%d%d%d)", function(n) return char(n) end)), dots > 0
end

-- One class: "[\x0d-\xff]" as list of { low, high }, and what follows it.
local function class(text)
  local negated, inside, rest = match(text, "^%[(%^?)([^%]]+)%](.*)$")
  if not inside or find(inside, "[%[\\]") then
    return nil
  end
  local ranges, at = { is_not = negated ~= "" }, 1
  while at <= #inside do
    local low = byte(inside, at)
    if sub(inside, at + 1, at + 1) == "-" and at + 2 <= #inside then
      ranges[#ranges + 1] = { low, byte(inside, at + 2) }
      at = at + 3
    else
      ranges[#ranges + 1] = { low, low }
      at = at + 1
    end
  end
  return ranges, rest
end

-- "^a[bc]d" as one list of ranges a byte; nil when there is more to it.
local function row(text)
  local bytes = {}
  while text ~= "" do
    local ranges, rest
    local c = sub(text, 1, 1)
    if c == "[" then
      ranges, rest = class(text)
    elseif c == "\\" and find(text, "^\\%p") then
      ranges, rest = { { byte(text, 2), byte(text, 2) } }, sub(text, 3)
    elseif c == "." then
      ranges, rest = { { 0, 255 } }, sub(text, 2)
    elseif not find(c, SPECIAL) then
      ranges, rest = { { byte(c), byte(c) } }, sub(text, 2)
    end
    if not ranges then
      return nil
    end
    bytes[#bytes + 1] = ranges
    text = rest
  end
  return #bytes > 0 and bytes or nil
end

local function test_of(ranges)
  local parts = {}
  for i, r in ipairs(ranges) do
    parts[i] = r[1] == r[2] and format("b == %d", r[1]) or format("b >= %d and b <= %d", r[1], r[2])
  end
  local any = #parts == 1 and parts[1] or "(" .. table.concat(parts, ") or (") .. ")"
  return ranges.is_not and any or "not (" .. any .. ")"
end

local function identify(bytes)
  local fields = { "identify = function(buf)", "  local b" }
  for i, ranges in ipairs(bytes) do
    fields[#fields + 1] = format("  b = buf[%d]", i - 1)
    fields[#fields + 1] = format("  if b < 0 then return rx.more elseif %s then return false end", test_of(ranges))
  end
  fields[#fields + 1] = "  return true"
  fields[#fields + 1] = "end,"
  return fields
end

local function own(result, fields, transport, comments)
  table.insert(fields, 1, format("transport = %s,", out.quote(transport)))
  return { proto = result:own_protocol("regex", fields, comments) }
end

-- Sorts one expression into `kinds`; what remains becomes a route of its own, or a comment.
local function sort_one(result, text, transport, kinds, routes)
  local anchored = sub(text, 1, 1) == "^"
  local bare = anchored and sub(text, 2) or text
  local bytes, has_dots = literal(bare)
  local is_empty = bytes == ""
  if is_empty then
    routes[#routes + 1] = { proto = "rx.any" }
  elseif bytes and not has_dots then
    local list = anchored and kinds.prefix or kinds.patterns
    list[#list + 1] = bytes
  elseif bytes and not anchored then
    kinds.patterns[#kinds.patterns + 1] = bytes
    kinds.comments[#kinds.comments + 1] = format("%s: a dot means a dot here, not any byte", out.quote(text))
  else
    local is_end = anchored and sub(bare, -1) == "$" and sub(bare, -2, -2) ~= "\\"
    local list = anchored and row(is_end and sub(bare, 1, -2) or bare)
    if list then
      routes[#routes + 1] = own(result, identify(list), transport, { format("%s%s", out.quote(text),
        is_end and ": that nothing may follow is left out, as more bytes may always come" or "") })
    else
      routes[#routes + 1] = { shown = "regex", why = format("%s: such regular expressions are not looked for; write"
        .. " rx.protocol with identify", out.quote(text)) }
    end
  end
end

---@return table list of { proto } or { why }
function M.protocols(result, patterns, transport)
  local kinds, routes = { prefix = {}, patterns = {}, comments = {} }, {}
  for _, text in ipairs(patterns) do
    sort_one(result, text, transport, kinds, routes)
  end
  local fields = {}
  for _, key in ipairs { "prefix", "patterns" } do
    if #kinds[key] > 0 then
      fields[#fields + 1] = format("%s = %s,", key, out.list(kinds[key]))
    end
  end
  if #fields > 0 then
    table.insert(routes, 1, own(result, fields, transport, kinds.comments))
  end
  if #routes == 0 then
    routes[1] = { shown = "regex", why = "there are no regex_patterns" }
  end
  return routes
end

return M
