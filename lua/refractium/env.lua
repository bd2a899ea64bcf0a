-- SPDX-License-Identifier: MIT
-- The world a config sees: a whitelist. Nothing in it reaches files, processes, the FFI or bytecode.
-- Enters: the rx table, a session to report to, and the view, which knows whether a call is on. Leaves: an environment
-- table for setfenv. While connections are served it is a little smaller: what no tick (budget.lua) could stop, because
-- it runs inside the VM for as long as its arguments say, has bounds or is not there.
-- A name that does not exist is reported where it is read and stands for value.unknown from then on.

local budget = require "refractium.budget"
local pattern = require "refractium.pattern"
local suggest = require "refractium.suggest"
local value = require "refractium.value"

local error, getmetatable, io, ipairs, os, pairs, select, setmetatable, tostring, type =
  error, getmetatable, io, ipairs, os, pairs, select, setmetatable, tostring, type
local find, format, rep = string.find, string.format, string.rep
local concat, insert, move, sort = table.concat, table.insert, table.move, table.sort
local is_endless = pattern.is_endless
local getinfo, getlocal, getupvalue = debug.getinfo, debug.getlocal, debug.getupvalue

local M = {}

local REP_MAX = 16 * 1024 * 1024 -- bytes string.rep may make: a slip of a zero must not fill the memory
local REP_MAX_SERVING = 64 * 1024
local SORT_MAX_SERVING, MOVE_MAX_SERVING = 10000, 100000
local MOVE_MAX = 10000000

-- Lua's own names that a config does not get: said to be missing on purpose, not taken for a typing slip.
local WITHHELD = {}
for _, name in ipairs {
  "io", "debug", "ffi", "jit", "package", "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv", "rawget",
  "rawset", "rawequal", "rawlen", "module", "newproxy", "collectgarbage", "coroutine", "xpcall", "_G", "gcinfo",
} do
  WITHHELD[name] = true
end

local function copy(library)
  local out = {}
  for name, fn in pairs(library) do
    out[name] = fn
  end
  return out
end

local function safe_rep(call)
  return function(s, n, sep)
    local unit = type(s) == "string" and #s + (type(sep) == "string" and #sep or 0) or 1
    if type(n) == "number" and unit * n > (call.is_open == 1 and REP_MAX_SERVING or REP_MAX) then
      error("string.rep: result too long", 2)
    end
    return rep(s, n, sep)
  end
end

-- Patterns can take a time that is exponential in their length, all of it inside one call of the VM.
local function no_patterns(level)
  error('string patterns are not available while connections are served; use rx.re "..." or buf:find', level + 1)
end

local function refuse_endless(level)
  error('this string pattern would take too long; use a simpler one, or rx.re "..."', level + 1)
end

local function at_load_only(call, fn, is_all)
  return function(s, p, third, ...)
    if call.is_open == 1 then
      no_patterns(2)
    elseif is_endless(s, p, not is_all and third or nil, is_all) then
      refuse_endless(2)
    end
    return fn(s, p, third, ...)
  end
end

-- Plain searches stay. The result is two numbers: more only with a pattern.
local function safe_find(call)
  return function(s, what, from, is_plain)
    if call.is_open == 1 then
      if not is_plain then
        no_patterns(2)
      end
      local first, last = find(s, what, from, true)
      return first, last
    end
    if not is_plain and is_endless(s, what, from) then
      refuse_endless(2)
    end
    return find(s, what, from, is_plain)
  end
end

local function safe_string(call)
  local out = copy(string)
  out.dump = nil
  out.rep, out.find = safe_rep(call), safe_find(call)
  for name, is_all in pairs { match = false, gmatch = true, gsub = true, gfind = true } do
    out[name] = out[name] and at_load_only(call, out[name], is_all)
  end
  return out
end

local function bounded(what, n, max)
  if n ~= n or n > max then
    error(format("%s: too much at once", what), 3)
  end
end

local function safe_table(call)
  local out = copy(table)
  function out.sort(list, before)
    if call.is_open == 1 and type(list) == "table" then
      bounded("table.sort", #list, SORT_MAX_SERVING)
    end
    return sort(list, before)
  end
  function out.insert(list, ...)
    local at = select("#", ...) > 1 and (...) or nil
    if type(at) == "number" and type(list) == "table" and not (at >= 1 and at <= #list + 1) then
      error("table.insert: position out of range", 2)
    end
    return insert(list, ...)
  end
  if move then
    function out.move(from, first, last, ...)
      if type(first) == "number" and type(last) == "number" then
        bounded("table.move", last - first, call.is_open == 1 and MOVE_MAX_SERVING or MOVE_MAX)
      end
      return move(from, first, last, ...)
    end
  end
  return out
end

-- Methods of strings, ("x"):rep(3), come from the one metatable all strings share, in this Lua state for good.
-- It gets a table no config can reach, so that none can change what the runtime's own s:method() calls mean.
---@param view table view.lua's
function M.seal_strings(view)
  getmetatable("").__index = safe_string(view.call)
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
  while info and not session.sources:file_of(info.source) do
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

-- What was printed during the load was printed by the state that loaded the config first.
local function print_to_stderr(session)
  return function(...)
    local words = {}
    for i = 1, select("#", ...) do
      words[i] = tostring((select(i, ...)))
    end
    if session.is_loaded or not session.is_quiet then
      io.stderr:write(concat(words, "\t"), "\n")
    end
  end
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

local function globals(session, rx, view, is_over)
  return {
    require = require_in(session, rx),
    string = safe_string(view.call), table = safe_table(view.call), math = copy(math), bit = copy(require "bit"),
    os = strict(session, { getenv = os.getenv, time = os.time, date = os.date, clock = os.clock }, "os"),
    ipairs = ipairs, pairs = pairs, next = next, select = select, unpack = unpack,
    pcall = budget.guard(is_over), error = error, assert = assert,
    tonumber = tonumber, tostring = tostring, type = type,
    setmetatable = setmetatable, getmetatable = safe_getmetatable,
    print = print_to_stderr(session), _VERSION = _VERSION,
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

---@param view table view.lua's
function M.new(session, rx, view)
  local tick, is_over = budget.new(view)
  local env = globals(session, rx, view, is_over)
  return setmetatable({ [budget.NAME] = tick }, {
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
