-- SPDX-License-Identifier: MIT
-- The world a config sees: a whitelist. Nothing in it reaches files, processes, the FFI or bytecode.
-- Enters: the rx table and a session to report to. Leaves: an environment table for setfenv.
-- A name that does not exist is reported where it is read and stands for value.unknown from then on.

local suggest = require "refractium.suggest"
local value = require "refractium.value"

local error, getmetatable, ipairs, pairs, setmetatable, tostring, type =
  error, getmetatable, ipairs, pairs, setmetatable, tostring, type
local concat, format, rep, select, sort = table.concat, string.format, string.rep, select, table.sort
local getinfo, getlocal, getupvalue = debug.getinfo, debug.getlocal, debug.getupvalue

local M = {}

local REP_MAX = 16 * 1024 * 1024 -- bytes string.rep may make: a slip of a zero must not fill the memory

-- Lua's own names that a config does not get: said to be missing on purpose, not taken for a typing slip.
local WITHHELD = {}
for _, name in ipairs {
  "io", "debug", "ffi", "jit", "package", "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv", "rawget",
  "rawset", "rawequal", "rawlen", "module", "newproxy", "collectgarbage", "coroutine", "xpcall", "_G", "gcinfo",
} do
  WITHHELD[name] = true
end

local function safe_rep(s, n, sep)
  local unit = type(s) == "string" and #s + (type(sep) == "string" and #sep or 0) or 1
  if type(n) == "number" and unit * n > REP_MAX then
    error("string.rep: result too long", 2)
  end
  return rep(s, n, sep)
end

local function copy(library)
  local out = {}
  for name, fn in pairs(library) do
    out[name] = fn
  end
  return out
end

local function safe_string()
  local out = copy(string)
  out.dump = nil
  out.rep = safe_rep
  return out
end

-- Methods of strings, ("x"):rep(3), come from the one metatable all strings share, in this Lua state for good.
-- It gets a table no config can reach, so that none can change what the runtime's own s:method() calls mean.
function M.seal_strings()
  getmetatable("").__index = safe_string()
end

local function collect(names, get, from)
  local i = 1
  while true do
    local name = get(from, i)
    if not name then
      return
    end
    names[#names + 1] = name
    i = i + 1
  end
end

-- Locals and upvalues the config can see where it reads a name: the likeliest meant words.
local function names_in_scope(session)
  local names = {}
  local level = 2
  local info = getinfo(level, "Sf")
  while info and info.source ~= session.source do
    level = level + 1
    info = getinfo(level, "Sf")
  end
  if info then
    collect(names, function(_, i) return (getlocal(level + 2, i)) end)
    collect(names, getupvalue, info.func)
  end
  return names
end

local function strict(session, library, name)
  local function missing(_, key)
    local names = {}
    for known in pairs(library) do
      names[#names + 1] = known
    end
    sort(names)
    session:complain(format("%s.%s is not available in a config%s", name, tostring(key), suggest.hint(key, names)))
    return value.unknown
  end
  return setmetatable(library, { __index = missing, __metatable = false })
end

local function safe_getmetatable(v)
  return type(v) == "table" and getmetatable(v) or nil
end

local function print_to_stderr(...)
  local words = {}
  for i = 1, select("#", ...) do
    words[i] = tostring((select(i, ...)))
  end
  io.stderr:write(concat(words, "\t"), "\n")
end

local function require_in(session, rx)
  return function(name)
    if name == "refractium" then
      return rx
    end
    session:complain(format('require "%s": only "refractium" can be required in a config', tostring(name)))
    return value.unknown
  end
end

local function globals(session, rx)
  return {
    require = require_in(session, rx),
    string = safe_string(), table = copy(table), math = copy(math), bit = copy(require "bit"),
    os = strict(session, { getenv = os.getenv, time = os.time, date = os.date }, "os"),
    ipairs = ipairs, pairs = pairs, next = next, select = select, unpack = unpack,
    pcall = pcall, error = error, assert = assert,
    tonumber = tonumber, tostring = tostring, type = type,
    setmetatable = setmetatable, getmetatable = safe_getmetatable,
    print = print_to_stderr, _VERSION = _VERSION,
  }
end

local function explain_missing(session, env, key)
  if WITHHELD[key] then
    return format("%s is not available in a config", key)
  elseif key == "rx" then
    return 'unknown name "rx" (begin the file with: local rx = require "refractium")'
  end
  local known = names_in_scope(session)
  local names = {}
  for name in pairs(env) do
    names[#names + 1] = name
  end
  sort(names)
  for _, name in ipairs(names) do
    known[#known + 1] = name
  end
  return format('unknown name "%s"%s', tostring(key), suggest.hint(key, known))
end

function M.new(session, rx)
  local env = globals(session, rx)
  return setmetatable({}, {
    __index = function(_, key)
      local known = env[key]
      if known == nil then
        session:complain(explain_missing(session, env, key))
        return value.unknown
      end
      return known
    end,
    __newindex = function(_, key)
      session:complain(format('assignment to the global "%s": write "local %s = ..."', tostring(key), tostring(key)))
    end,
    __metatable = false,
  })
end

return M
