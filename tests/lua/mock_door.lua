-- A door written in Lua: records every builder call and every finding, and answers like the program would.
-- Enters: what the runtime calls. Leaves: door.calls, a list of { name, arguments... }, and door.found, a list of
-- { severity, text }.

local M = {}

local BUILTINS = {
  "tls", "http", "ssh", "sftp", "socks4", "socks5", "postgres", "redis", "dns", "smtp", "https=tls",
}

local function is_ip(text)
  return text:find "^%d+%.%d+%.%d+%.%d+$" ~= nil or text:find "^[%x:]*:[%x:]*$" ~= nil
end

local function is_host_port(text)
  local host, port = text:match "^(.*):(%d+%-?%d*)$"
  if not host or tonumber(port:match "^%d+") > 65535 then
    return false
  end
  return host == "*" or host:find "^[%w.-]+$" ~= nil or is_ip((host:gsub("^%[(.*)%]$", "%1")))
end

local CHECKS = {
  [0] = function(text) return text:find "^unix:/" or is_host_port(text) end,
  function(text) return text:find "^unix:/" or is_host_port(text) end,
  function(text) return is_ip(text:match "^(.*)/%d+$" or text) end,
}

-- refuse: builder name → words, for builders that shall answer -1.
function M.new(refuse)
  local door = { calls = {}, found = {} }
  local next_id, words = 0, ""
  function door.error() return words end
  function door.report(_, severity, text) door.found[#door.found + 1] = { severity, text } end
  function door.builtin_name(i) return BUILTINS[i + 1] end
  function door.has(_, field) return not (refuse and refuse.lacks == field) end
  function door.addr_check(_, kind, text)
    words = "does not parse"
    return CHECKS[kind](text) and 0 or -1
  end
  function door.regex_check(_, text)
    words = "missing )"
    return text:find("(", 1, true) and not text:find(")", 1, true) and -1 or 0
  end
  setmetatable(door, { __index = function(_, name)
    return function(_, ...)
      door.calls[#door.calls + 1] = { name, ... }
      if refuse and refuse[name] then
        words = refuse[name]
        return -1
      end
      next_id = next_id + 1
      return next_id
    end
  end })
  return door
end

---All calls of one builder, in order.
function M.calls(door, name)
  local out = {}
  for _, call in ipairs(door.calls) do
    if call[1] == name then
      out[#out + 1] = call
    end
  end
  return out
end

---Loads a config given as text. Returns the door, the errors as a list of texts, the warnings, and what load said.
function M.load(text, cli, refuse)
  local door = M.new(refuse)
  cli = cli or {}
  if text then
    cli.config = "refractium.lua"
  end
  local n = require "refractium.load"(door, {}, { ["refractium.lua"] = text }, cli)
  local errors, warnings = {}, {}
  for _, finding in ipairs(door.found) do
    local list = finding[1] == 0 and errors or warnings
    list[#list + 1] = finding[2]
  end
  return door, errors, warnings, n
end

---The same for the inside of a file that begins as every config does, on line 1.
function M.config(body, cli, refuse)
  return M.load('local rx = require "refractium" ' .. body, cli, refuse)
end

return M
