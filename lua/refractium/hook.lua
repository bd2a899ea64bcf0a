-- SPDX-License-Identifier: MIT
-- rx.every and rx.file, and where hooks stand: a list of what rx.hook returned, or plain functions.
-- Enters: what the config wrote. Leaves: session.timers and session.files in the order they were made, which gives
-- them the same numbers in every state; values with which hooks write.

local units = require "refractium.units"
local value = require "refractium.value"

local error, next, rawget, setmetatable, tostring, type = error, next, rawget, setmetatable, tostring, type
local format = string.format

local M = {}

local SHORTEST, LONGEST = 10, 24 * 3600 * 1000 -- ms

---rx.every("10s", function() ... end)
---@param session table init.lua's
function M.every(session)
  session.timers = {}
  return function(interval, fn)
    session:must_load "rx.every"
    local ms, wrong = units.duration(value.of(interval) and {} or interval)
    if not ms then
      session:complain("rx.every: " .. wrong)
    elseif ms < SHORTEST or ms > LONGEST then
      session:complain(format("rx.every: must be between %s and %s, not %s", units.print_duration(SHORTEST),
        units.print_duration(LONGEST), units.show(interval)))
    elseif type(fn) ~= "function" then
      session:complain(format('rx.every: needs a function: rx.every("10s", function() ... end), not a %s', type(fn)))
    else
      session.timers[#session.timers + 1] = { every_ms = ms, fn = fn, line = session:line() }
    end
  end
end

local function file_methods(view, id, text)
  local methods = {}
  local function not_here(level)
    error(text .. ": files are written by hooks and rx.every, not while the config loads, nor in the path", level + 1)
  end

  ---Appends; false when the file has reached its limit.
  function methods.write(_, bytes)
    if type(bytes) ~= "string" then
      error(format("string expected, got %s", bytes == nil and "nothing" or type(bytes)), 2)
    end
    local answer = view.file_write and view.call.is_open == 1 and view.file_write(id, bytes) or -1
    if answer < 0 then not_here(2) end
    return answer == 0
  end

  ---Bytes in it; 0 when it is new, also after rotation.
  function methods.size()
    local size = view.file_size and view.call.is_open == 1 and view.file_size(id) or -1
    if size < 0 then not_here(2) end
    return size
  end
  return methods
end

local function file_value(view, id, text)
  local methods = file_methods(view, id, text)
  return setmetatable({}, {
    __index = function(_, key)
      return methods[key] or error(format("%s has no %s (only write and size)", text, tostring(key)), 2)
    end,
    __newindex = function() error(text .. " cannot be changed", 2) end,
    __tostring = function() return text end,
    __metatable = false,
  })
end

---rx.file(path, { max = "100m" })
---@param session table init.lua's
---@param view table view.lua's
function M.file(session, view)
  session.files = {}
  local function limit(options)
    if type(options) ~= "table" or value.of(options) then
      return nil, format('the options are a table: { max = "100m" }, not a %s', type(options))
    end
    for key in next, options do
      if key ~= "max" then
        return nil, format("has no option %s (only max)", tostring(key))
      end
    end
    return units.size(value.of(rawget(options, "max")) and {} or rawget(options, "max"))
  end
  return function(path, options)
    session:must_load "rx.file"
    if type(path) ~= "string" or path == "" then
      session:complain(format('rx.file: needs the path of a file, as in rx.file "access.log", not %s',
        type(path) == "string" and units.show(path) or "a " .. type(path)))
      return value.unknown
    end
    local max, wrong = 0, nil
    if options ~= nil then
      max, wrong = limit(options)
    end
    if not max then
      session:complain(format('rx.file "%s": %s', path, wrong))
      return value.unknown
    end
    session.files[#session.files + 1] = { path = path, max_bytes = max, line = session:line() }
    return file_value(view, #session.files - 1, format('rx.file "%s"', path))
  end
end

-- What a hook may hold, also where it is written as keys of a listener or a route.
M.FUNCTIONS = { "on_open", "on_data", "on_close", "filter" }

---The hooks of a server, listener or route, as a list of models; plain functions make one more of that place's name.
---@param options table as judged by check.lua
function M.of(options, name, line)
  local list = {}
  for i = 1, #(options.hooks or {}) do
    list[i] = options.hooks[i]
  end
  local own
  for i = 1, #M.FUNCTIONS do
    local key = M.FUNCTIONS[i]
    if options[key] then
      own = own or { name = name, line = line }
      own[key] = options[key]
    end
  end
  list[#list + 1] = own
  return list
end

return M
