-- The world a config sees: what is there works, what is not cannot be reached.
local mock = require "mock_door"

local LISTEN = ' rx.listen "a:1" { fallback_tcp = rx.drop }'

local function says(body, ...)
  local _, errors = mock.config(body .. LISTEN)
  assert.same({ ... }, errors)
end

describe("a config", function()
  it("has the harmless part of Lua", function()
    says [[
      assert(string.format("%d", 3) == "3" and ("x"):rep(3) == "xxx" and ("a-b"):find("-", 1, true) == 2)
      assert(#table.concat({ 1, 2 }) == 2 and math.floor(1.5) == 1 and bit.band(3, 1) == 1)
      assert(os.getenv("HOME") ~= 3 and os.time() > 0 and os.date("!%Y", 0) == "1970")
      assert(select("#", unpack { 1, 2 }) == 2 and tonumber "3" == 3 and tostring(3) == "3" and type(3) == "number")
      for _ in ipairs {} do end for _ in pairs {} do end assert(next {} == nil)
      assert(not pcall(error, "x") and getmetatable(setmetatable({}, { a = 1 })).a == 1)
      assert(require "refractium" == rx and tostring(rx) == "refractium")
    ]]
  end)

  for _, name in ipairs {
    "io", "debug", "ffi", "jit", "package", "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv",
    "rawset", "rawget", "newproxy", "collectgarbage", "coroutine", "module", "_G",
  } do
    it("has no " .. name, function()
      says("local x = " .. name, "refractium.lua:1: " .. name .. " is not available in a config")
    end)
  end

  it("has no os.execute, and a call of it does nothing", function()
    says("os.execute 'touch /tmp/never'", "refractium.lua:1: os.execute is not available in a config")
    says("os.getnev 'X'", 'refractium.lua:1: os.getnev is not available in a config (did you mean "getenv"?)')
  end)

  it("has no bytecode", function()
    says "assert(string.dump == nil and (('')).dump == nil)"
    local _, errors = mock.load(string.dump(function() end))
    assert.same({ "refractium.lua: is bytecode, not Lua text" }, errors)
  end)

  it("requires nothing but refractium", function()
    says("local ffi = require 'ffi' ffi.cdef 'int x;'",
      'refractium.lua:1: require "ffi": only "refractium" can be required in a config')
  end)

  it("cannot set globals", function()
    says("x = 1\nfunction y() end",
      'refractium.lua:1: assignment to the global "x": write "local x = ..."',
      'refractium.lua:2: assignment to the global "y": write "local y = ..."')
  end)

  it("is told of unknown names where they are read, each once, with what was meant", function()
    says("local web, function_name = 1, 2\nlocal x = wbe\nlocal function f() return functoin_name end f() f()",
      'refractium.lua:2: unknown name "wbe" (did you mean "web"?)',
      'refractium.lua:3: unknown name "functoin_name"')
    says("local web = 1 local function f()\nlocal y = web return wbe end f()",
      'refractium.lua:2: unknown name "wbe" (did you mean "web"?)')
    says("local x = sting.format('x')", 'refractium.lua:1: unknown name "sting" (did you mean "string"?)')
  end)

  it("goes on after an unknown name", function()
    says("local x = nope.a.b(1) .. 'x' x.y = 3 local z = -x + 1 < x",
      'refractium.lua:1: unknown name "nope"')
  end)

  it("is told to begin as every config does", function()
    local _, errors = mock.load "rx.server {}"
    assert.same({
      "refractium.lua: nothing to listen on (there is no rx.listen)",
      'refractium.lua:1: unknown name "rx" (begin the file with: local rx = require "refractium")',
    }, errors)
  end)

  it("cannot fill the memory with one slip", function()
    says("assert(not pcall(string.rep, 'x', 1e10)) assert(not pcall(('x').rep, 'x', 1e10, 'y'))")
  end)

  it("cannot change values, or look into them", function()
    says [[
      for _, v in ipairs { rx.tls, rx.drop, rx.respond, rx.pool "p" { "h:1" } } do
        assert(not pcall(function() v.kind = "x" end) and not pcall(function() return v.kind end))
        assert(getmetatable(v) == nil and not pcall(setmetatable, v, {}) and next(v) == nil)
      end
      assert(tostring(rx.tls) == "rx.tls" and tostring(rx.pool "q" { "h:1" }) == 'rx.pool "q"')
    ]]
    says("rx.tls = 1", "refractium.lua:1: rx.tls cannot be assigned")
    says("getmetatable(rx.drop).__index = 1", "refractium.lua:1: attempt to index a nil value")
  end)

  it("cannot change what strings mean to the runtime", function()
    says [[
      string.format = nil string.find = function() error "hijacked" end table.concat = nil
      local metatable = getmetatable "" assert(metatable == nil)
    ]]
  end)

  it("prints to standard error", function()
    local program = [[package.path = "lua/?.lua;tests/lua/?.lua" require "mock_door".config("print(1, nil, 3)")]]
    local pipe = io.popen("luajit -e '" .. program .. "' 2>&1 >/dev/null")
    local written = pipe:read "*a"
    pipe:close()
    assert.equal("1\tnil\t3\n", written)
  end)
end)

-- What functions of the config can reach while connections are served. Each body must fail with these words.
describe("a function", function()
  local PATTERNS = 'string patterns are not available while connections are served; use rx.re "..." or buf:find'

  local function call(body, is_worker)
    local functions, view, errors = mock.script(
      "local kept = ...\nrx.protocol 'g' { identify = function(buf)\n" .. body
      .. "\nend } rx.listen 'a:1' { fallback_tcp = rx.drop }", is_worker)
    assert.same({}, errors)
    return mock.call(view, functions[1], { bytes = "GAME\r\n", budget = 200 })
  end

  local function fails(words, body)
    for _, is_worker in ipairs { false, true } do
      local ok, wrong = call(body, is_worker)
      assert.is_false(ok)
      assert.equal("refractium.lua:3: " .. words, wrong)
    end
  end

  local function works(body)
    for _, is_worker in ipairs { false, true } do
      assert.same({ true, 1 }, { call(body, is_worker) })
    end
  end

  it("has no patterns", function()
    for _, code in ipairs {
      "string.find('x', 'x')", "string.match('x', 'x')", "string.gsub('x', 'x', 'y')", "string.gmatch('x', 'x')",
      "('x'):find('x')", "('x'):match('x')", "('x'):gsub('x', 'y')", "('x'):gmatch('x')",
      "string.find(('a?'):rep(28) .. ('a'):rep(28), ('a'):rep(28), 1, false)",
    } do
      fails(PATTERNS, "local x = " .. code)
    end
  end)

  it("has the rest of the strings", function()
    works [[
      local s = buf:sub(0, 4)
      return s == "GAME" and ("a.b"):find(".", 1, true) == 2 and ("x"):rep(3) == "xxx" and ("x"):byte() == 120
        and string.format("%d", 3) == "3" and ("Ab"):lower() == "ab" and #("x"):reverse() == 1]]
  end)

  it("has bounds on what runs inside the VM", function()
    fails("string.rep: result too long", "local x = ('x'):rep(1e6)")
    fails("string.rep: result too long", "local x = ('x'):rep(1e6, 'y')")
    fails("table.sort: too much at once", "local t = {} for i = 1, 20000 do t[i] = -i end table.sort(t)")
    fails("table.insert: position out of range", "table.insert({}, -1e9, 1)")
    if table.move then
      fails("table.move: too much at once", "table.move({}, 1, 1e15, 2)")
      fails("table.move: too much at once", "table.move({}, 1, 0/0, 2)")
    end
    works [[
      local t = { 3, 1 }
      table.sort(t) table.insert(t, 1, 0) table.insert(t, 9)
      return table.concat(t, ',') == '0,1,3,9']]
  end)

  for _, name in ipairs {
    "io", "debug", "ffi", "jit", "package", "load", "loadstring", "loadfile", "dofile", "getfenv", "setfenv", "rawset",
    "rawget", "newproxy", "collectgarbage", "coroutine", "module", "_G", "xpcall", "gcinfo",
  } do
    it("has no " .. name, function()
      fails(name .. " is not available in a config", "local x = " .. name)
    end)
  end

  it("reaches no memory through what it is given", function()
    for _, code in ipairs {
      "buf.len = 1e9", "buf.ptr = 1", "local x = buf.ptr[-64]", "buf[0] = 1", "local x = buf + 1", "local x = buf()",
      "buf:starts(buf)", "buf:u16(0xffffffffffffffffULL)", "buf:sub(1/0, 32LL)", "buf:find(kept, 0)", "buf:u8 '0'",
      "buf.u8 = print", "setmetatable(buf, {})", "buf.__index = 1", "local x = (1LL)[0]", "local x = (1LL).x",
    } do
      assert.is_false(call(code), code)
    end
    works [[
      return buf:u8(0/0) == -1 and buf:u8(2^63) == -1 and buf:u8(-2^63) == -1 and buf:u32(1/0) == -1
        and buf:find('G', 0/0) == nil and buf:find('G', 2^64) == nil and buf:sub(0/0, 0/0) == "GAME\r\n"
        and not buf:starts('G', 0/0) and getmetatable(buf) == nil and getmetatable("") == nil]]
  end)

  it("cannot change what others use", function()
    works [[
      string.format, string.rep, table.concat, math.floor = nil
      local mt = setmetatable({}, { __gc = error, __mode = "k" })
      return mt ~= nil and ("x"):rep(2) == "xx" and buf:hex(1) == "47" and buf:sub(0, 1) == "G"]]
    local ok, wrong = call "string = nil"
    assert.is_false(ok)
    assert.equal('refractium.lua:3: assignment to the global "string": write "local string = ..."', wrong)
  end)

  it("has the clock and nothing else of os", function()
    works "return os.time() > 0 and os.clock() >= 0 and type(os.date()) == 'string' and os.getenv 'NO_SUCH' == nil"
    fails("os.execute is not available in a config", "local x = os.execute")
    fails("os.remove is not available in a config", "os.remove 'x'")
  end)
end)

describe("an error in the config", function()
  it("of syntax has its line", function()
    local _, errors = mock.load 'local rx = require "refractium"\nrx.listen "a:1" {'
    assert.equal(1, #errors)
    assert.matches("^refractium.lua:2: ", errors[1])
  end)

  it("has the line even where the message has none", function()
    says("\n\nerror('stop', 0)", "refractium.lua:3: stop")
    local _, errors = mock.config "\nerror { 1 }"
    assert.matches("^refractium.lua:2: table: ", errors[1])
  end)

  it("in a callback of the library has the config's line", function()
    says("\ntable.sort({ 1, 2 }, function() error 'stop' end)", "refractium.lua:2: stop")
  end)

  it("keeps its line under a first line for the shell and a byte order mark", function()
    local _, errors = mock.load "\239\187\191#!/usr/bin/env refractium\nerror 'stop'"
    assert.same({ "refractium.lua:2: stop" }, errors)
  end)

  it("does not stop tables with metatables from being read plainly", function()
    says "rx.pool 'p' (setmetatable({ 'h:1' }, { __index = function() error 'no' end }))"
  end)
end)
