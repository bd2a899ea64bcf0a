-- SPDX-License-Identifier: MIT
-- Opaque values: what verbs return and configs refer to.
-- Enters: a kind ("protocol", "pool", "action", ...) and a record. Leaves: a table that shows nothing but a
-- name; the record stays here, so a config can neither read nor change it.

local suggest = require "refractium.suggest"

local error, pairs, setmetatable, tostring, type = error, pairs, setmetatable, tostring, type
local format, sort = string.format, table.sort

local M = {}

local records = setmetatable({}, { __mode = "k" })

local function describe(self)
  return records[self].text
end

local function no_write(self)
  error(format("%s cannot be changed", describe(self)), 2)
end

local function no_read(self, key)
  error(format("%s has no field %q", describe(self), tostring(key)), 2)
end

-- Functions a value has, found before the complaint about those it has not.
local function with_methods(methods, record)
  local names = {}
  for name in pairs(methods) do
    names[#names + 1] = name
  end
  sort(names)
  return setmetatable(methods, { __index = function(_, key)
    error(format("%s has no %s%s", record.text, tostring(key), suggest.hint(key, names)), 2)
  end })
end

-- `record.text` is what tostring shows; `call`, if given, runs when the value is called; `methods`: name → function.
function M.new(kind, record, call, methods)
  local self = setmetatable({}, {
    __index = methods and with_methods(methods, record) or no_read,
    __newindex = no_write,
    __call = call or function(me)
      error(format("%s is a value, not a function", describe(me)), 2)
    end,
    __tostring = describe,
    __metatable = false,
  })
  record.kind = kind
  records[self] = record
  return self
end

---The record behind `v`, or nil when v is no opaque value (or not of that kind).
function M.of(v, kind)
  local record = type(v) == "table" and records[v] or nil
  if record and kind and record.kind ~= kind then
    return nil
  end
  return record
end

local poison

local function itself()
  return poison
end

local function no()
  return false
end

-- What a misspelt name stands for once it was reported: it swallows every use, so that one run can show all
-- mistakes of a file instead of the first.
poison = setmetatable({}, {
  __index = itself, __call = itself, __newindex = no, __concat = itself, __unm = itself,
  __add = itself, __sub = itself, __mul = itself, __div = itself, __mod = itself, __pow = itself,
  __lt = no, __le = no,
  __tostring = function() return "(unknown)" end,
  __metatable = false,
})
records[poison] = { kind = "unknown", text = "(unknown)" }

M.unknown = poison

function M.is_unknown(v)
  return v == poison
end

return M
