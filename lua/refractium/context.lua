-- SPDX-License-Identifier: MIT
-- The place in the config that is being looked at, and what is reported there. Lines are looked up only for findings.

local init = require "refractium.init"
local kinds = require "refractium.kinds"
local suggest = require "refractium.suggest"
local units = require "refractium.units"
local value = require "refractium.value"

local floor, ipairs, next, rawget, setmetatable, tostring, type =
  math.floor, ipairs, next, rawget, setmetatable, tostring, type
local concat, format, sort = table.concat, string.format, table.sort

local M = {}

local context = {}
context.__index = context

function context:push(key)
  self.path[#self.path + 1] = key
end

function context:pop()
  self.path[#self.path] = nil
end

function context:at(key, fn)
  self:push(key)
  fn()
  self:pop()
end

function context:where()
  local declaration = self.declaration
  return declaration.line and self.locate and self.locate:line(declaration, self.path) or declaration.line
end

function context:describe(text)
  local parts = { self.declaration.title or init.title(self.declaration.verb, self.declaration.name) }
  for _, key in ipairs(self.path) do
    parts[#parts + 1] = kinds.path_part(key)
  end
  return concat(parts) .. ": " .. text
end

function context:fail(text)
  self.report:error(self:where(), self:describe(text))
end

function context:warn(text)
  self.report:warn(self:where(), self:describe(text))
end

function context:twice(what, first)
  return format("%s twice (first %s)", what, self.report.sources:text_from(first, self.declaration.line))
end

function context:begin(declaration)
  self.declaration = declaration
  self.path = {}
end

local function key_names(section)
  local names = {}
  for _, row in ipairs(section) do
    names[#names + 1] = row.name
  end
  return names
end

-- Reports a key that no row describes; returns the one that was probably meant.
local function unknown_key(ctx, section, key)
  if type(key) ~= "string" then
    ctx:fail("unexpected entry without a name")
  elseif section.not_yet[key] then
    ctx:fail(format("%s is not available in this version", key))
  else
    local names = key_names(section)
    ctx:fail(format("unknown key%s", suggest.hint(key, names)))
    return suggest.closest(key, names)
  end
end

local function is_position(section, key)
  return section.is_list and type(key) == "number" and key >= 1 and floor(key) == key
end

-- Defaults in the form build.lua wants, made once for each section.
local function defaults(section)
  if not section.default_values then
    local values = {}
    for _, row in ipairs(section) do
      local v = row.default
      if row.type == "duration" and v then
        v = units.duration(v)
      elseif row.type == "percent" then
        v = units.percent(v)
      elseif row.type == "size" and v then
        v = units.size(v)
      elseif row.type == "workers" then
        v = 0
      end
      values[row.name] = v
    end
    section.default_values = values
  end
  return section.default_values
end

-- Reports keys that no row describes, in an order that does not depend on the table's; returns, as a set, the
-- names that were probably meant.
local function unknown_keys(ctx, section, t)
  local unknown
  for key in next, t do
    if not section.by_name[key] and not is_position(section, key) then
      unknown = unknown or {}
      unknown[#unknown + 1] = key
    end
  end
  local meant = {}
  if unknown then
    sort(unknown, function(a, b) return tostring(a) < tostring(b) end)
  end
  for _, key in ipairs(unknown or {}) do
    ctx:push(key)
    meant[unknown_key(ctx, section, key) or false] = true
    ctx:pop()
  end
  return meant
end

---The options of `t` by name, judged by their rows, with defaults for what is absent. Conditions have no functions,
---and a state that collects those leaves them out.
function context:fields(section, t)
  local out, meant = {}, unknown_keys(self, section, t)
  local values = defaults(section)
  for i = 1, #section do
    local row = section[i]
    local name = row.name
    local v = rawget(t, name)
    if v == nil then
      out[name] = values[name]
      if row.required and not meant[name] then
        self:fail(format("%s is missing", name))
      end
    elseif not value.is_unknown(v) and not (self.is_collecting and row.cond) then
      self:push(name)
      out[name] = kinds[row.type](self, row, v)
      self:pop()
    end
  end
  return out
end

---@param session table init.lua's
function M.new(session, link, report, locate)
  return setmetatable({
    session = session, link = link, report = report, locate = locate, path = {}, declaration = { title = "" },
    pools = {}, pool_by_name = {}, anonymous = {}, is_collecting = session.is_quiet,
  }, context)
end

M.defaults = defaults

return M
