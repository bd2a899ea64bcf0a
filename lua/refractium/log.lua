-- SPDX-License-Identifier: MIT
-- rx.log: what a config has to say.
-- Enters: a message and a table of details. Leaves: one line of text: to the program's log while connections are
-- served, to standard error while the config loads.

local suggest = require "refractium.suggest"
local value = require "refractium.value"

local io, next, pcall, setmetatable, tostring, type = io, next, pcall, setmetatable, tostring, type
local concat, find, format, gsub, sort, sub =
  table.concat, string.find, string.format, string.gsub, table.sort, string.sub

local M = {}

local LEVELS = { error = 0, warn = 1, info = 2, debug = 3 } -- as in struct rx_view_door
local NAMES = { "error", "warn", "info", "debug" }

local LINE_MAX, VALUE_MAX = 2000, 500 -- bytes

-- Control characters would let a client write lines of its own.
local function escaped(c)
  return format("\\x%02x", c:byte())
end

-- A config's own __tostring may do anything.
local function words(v, max)
  local ok, text = pcall(tostring, v)
  text = ok and type(text) == "string" and text or "(" .. type(v) .. ")"
  if #text > max then
    text = sub(text, 1, max) .. "..."
  end
  return (gsub(text, "%c", escaped))
end

local function detail(key, v)
  local text = words(v, VALUE_MAX)
  if text == "" or find(text, '[%s"=]') then
    text = '"' .. gsub(text, '["\\]', "\\%0") .. '"'
  end
  return format("%s=%s", gsub(words(key, 64), "[%s=]", "_"), text)
end

local function line_of(message, details)
  local parts = {}
  for key, v in next, type(details) == "table" and not value.of(details) and details or {} do
    parts[#parts + 1] = detail(key, v)
  end
  sort(parts)
  local text = words(message, LINE_MAX)
  return #parts > 0 and sub(text .. " " .. concat(parts, " "), 1, LINE_MAX) or text
end

---@param session table init.lua's; with is_quiet, what is said during the load was said by another state before
---@param view table view.lua's
function M.new(session, view)
  local verbs = {}
  for name, level in next, LEVELS do
    verbs[name] = function(message, details)
      local line = line_of(message, details)
      if view.call.is_open == 1 then
        view.log(level, line, #line)
      elseif not session.is_quiet then
        io.stderr:write(format("%s: %s: %s\n", session.report.file, name, line))
      end
    end
  end
  return setmetatable({}, {
    __index = function(_, key)
      if verbs[key] then
        return verbs[key]
      end
      session:complain(format("refractium has no rx.log.%s%s", tostring(key), suggest.hint(key, NAMES)))
      return value.unknown
    end,
    __newindex = function(_, key)
      session:complain(format("rx.log.%s cannot be assigned", tostring(key)))
    end,
    __call = function()
      session:complain 'rx.log is no verb: write rx.log.info "..."'
      return value.unknown
    end,
    __tostring = function() return "rx.log" end,
    __metatable = false,
  })
end

return M
