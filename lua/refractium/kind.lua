-- SPDX-License-Identifier: MIT
-- What the types of schema.lua (kinds.lua and kind_*.lua) share: how a value is shown, how a finding is reported,
-- lists and tables with rows of their own.

local units = require "refractium.units"
local value = require "refractium.value"

local floor, format, next, sub, type = math.floor, string.format, next, string.sub, type

local M = {}
local show = units.show

-- What the user wrote, in two words: for "must be ..., not ...".
local function what(v)
  local record = value.of(v)
  if record then
    return record.text
  elseif type(v) == "string" or type(v) == "number" then
    return show(v)
  elseif type(v) == "nil" then
    return "nothing"
  end
  return "a " .. type(v)
end
M.what = what

local function fail(ctx, text, ...)
  ctx:fail(format(text, ...))
  return nil
end

local function is_integer(v)
  return type(v) == "number" and floor(v) == v and v - v == 0
end
M.fail, M.is_integer, M.show = fail, is_integer, show

function M.string(ctx, _, v)
  if type(v) ~= "string" or v == "" then
    return fail(ctx, "must be a string, not %s", what(v))
  end
  return v
end

---A list as the user wrote it, or one value standing for a list of one. Calls each(value) with the path set;
---keeps what it returns. Anything but positions 1..n in the table is reported.
local function list(ctx, v, expected, each)
  if value.is_unknown(v) then
    return nil
  elseif type(v) ~= "table" or value.of(v) then
    local one = each(v)
    return one ~= nil and { one } or nil
  end
  local n, out = #v, {}
  if next(v) == nil then
    return fail(ctx, "is an empty list; give %s, or leave it out", expected)
  end
  for key in next, v do
    if not is_integer(key) or key < 1 or key > n then
      ctx:at(key, function() ctx:fail("unexpected key in a list") end)
    end
  end
  for i = 1, n do
    ctx:push(i)
    local item = v[i]
    if not value.is_unknown(item) then
      out[#out + 1] = each(item)
    end
    ctx:pop()
  end
  return out
end
M.list = list

local function regex(ctx, s)
  if ctx.link.regex_check(sub(s, 2)) ~= 0 then
    return fail(ctx, "bad regex %s: %s", show(s), ctx.link.error())
  end
  return s
end
M.regex = regex

---A table whose keys are rows of `section`.
function M.nested(section)
  return function(ctx, _, v)
    if type(v) ~= "table" or value.of(v) then
      return fail(ctx, "must be a table, not %s", what(v))
    elseif next(v) == nil then
      return fail(ctx, "is empty")
    end
    return ctx:fields(section, v)
  end
end

return M
