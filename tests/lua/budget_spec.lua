-- The script budget: text with ticks is the same program, and what does not return is stopped.
local budget = require "refractium.budget"
local mock = require "mock_door"

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return (text:gsub("^#[^\n]*", ""))
end

-- Loads with a tick that counts; returns the chunk and the counter.
local function ticking(text)
  local out = assert(budget.transform(text))
  local count = { n = 0 }
  local chunk = assert(load(out, "=ticking", "t"), out)
  setfenv(chunk, setmetatable({ [budget.NAME] = function() count.n = count.n + 1 end }, { __index = _G }))
  return chunk, count
end

local function same(text, ...)
  local chunk, count = ticking(text)
  local results = { chunk(...) }
  assert.same({ assert(load(text))(...) }, results)
  return count.n
end

describe("a text with ticks", function()
  it("is the same program", function()
    local files = io.popen "ls lua/refractium/*.lua tests/lua/*.lua scripts/*/*.lua refractium.lua 2>/dev/null"
    local n = 0
    for path in files:lines() do
      local text = read(path)
      local out, line, why = budget.transform(text)
      if why then -- a file that names the tick itself
        assert.is_truthy(line and text:find("__rx_", 1, true), path)
      else
        assert.is_function((load(out, "=" .. path, "t")), path)
        assert.equal(select(2, text:gsub("\n", "")), select(2, out:gsub("\n", "")), path)
      end
      n = n + 1
    end
    files:close()
    assert.is_true(n > 20)
  end)

  it("ticks in every loop, function and jump", function()
    assert.equal(3, same "local n = 0 for i = 1, 3 do n = n + i end return n")
    assert.equal(3, same "local n = 0 while n < 3 do n = n + 1 end return n")
    assert.equal(3, same "local n = 0 repeat n = n + 1 until n == 3 return n")
    assert.equal(3, same "local n = 0 for _, v in ipairs { 1, 2, 3 } do n = n + v end return n")
    assert.equal(1, same "local function f(a, ...) return a, ... end return f(1, 2)")
    assert.equal(1, same "return (function --[[ ( ) ]] (a) return a end)(1)")
    assert.equal(1, same "local t = {} function t.a (x) return x end return t.a(2)")
    assert.equal(1, same "local t = {} function t:a() return 3 end return t:a()")
    assert.equal(2, same "local n = 0 ::top:: n = n + 1 if n < 3 then goto top end return n")
    assert.equal(1, same "do local x = 1 end return 1")
  end)

  it("keeps a jump to the end of a block legal", function()
    assert.equal(5, same [[
      local n = 0
      for i = 1, 3 do
        if i == 2 then goto continue end
        local x = i
        n = n + x
        if n > 100 then goto --[=[ odd ]=] continue end
        ::continue::
      end
      do goto done end
      local y = 1
      ::done::]] - 1)
  end)

  it("does not take names, strings and comments for code", function()
    same 'local t = { ["do"] = "function () do", x = \'repeat\' } return t["do"], t.x'
    same "return [[ do ]], [==[ function() ]] ]==] -- do\n"
    same "--[==[ do\n]] function ]==] return 1"
    same "local goto = 1 goto = goto + 1 local x = goto return x"
    same "local t = { goto = 4 } return t.goto"
    same "local function goto(x) return x end local y = goto(1) goto(2) return y, goto 'x', goto { 1 }[1]"
    same "local goto, y = 5 local x = goto y = 3 return x, y"
    same "return 0x1p+4, 1e-1, 1 ..2, .5, 0x1.8p-1, 3LL == 3LL"
    same "return 'a\\z  \n  do', 'b\\\n do', \"c\\\"do\\\\\", '\\x64o', '\\100'"
    same "local function f(...) return select('#', ...) end return f(...)"
    same "local a = {1} local function f() return 1 end do (f)() end repeat (f)() until true return a[a[1]]"
    same "local _\195\164do, dodo, _do, endfunction = 1, 2, 3, 4 return _\195\164do, dodo, _do, endfunction"
    same "local x = 1 --do\rx = 2 return x"
  end)

  it("leaves room for as many locals and upvalues as before", function()
    local names, uses = {}, {}
    for i = 1, 200 do
      names[i] = "local v" .. i .. " = " .. i
      uses[i] = i <= 60 and "v" .. i or nil
    end
    same(table.concat(names, "\n") .. "\nreturn (function() return " .. table.concat(uses, "+") .. " end)()")
  end)

  it("cannot name the tick", function()
    for _, text in ipairs { "local __rx_tick", "__rx_tick = nil", "x.__rx_x = 1" } do
      local _, errors = mock.config("\n" .. text .. " rx.listen 'a:1' { fallback_tcp = rx.drop }")
      assert.matches('^refractium.lua:2: the name "__rx_%w+" is taken$', errors[1])
    end
    same "return '__rx_tick', [[__rx_tick]] --__rx_tick"
  end)
end)

-- Random programs: statements in random nesting that count what they do.
local function random_program(random)
  local pieces = {}
  local function add(text)
    pieces[#pieces + 1] = text
  end
  local block
  local labels = 0
  local function space()
    add(({ " ", "\n", " -- do\n", " --[[ function ( ]] ", "\t", " --[=[ ]] repeat\n]=] " })[random(6)])
  end
  local KINDS = {
    function() add "n = n + 1" end,
    function() add "n = n * 3 % 1000003" end,
    function() add "s = s .. 'do' s = s:sub(-9)" end,
    function(d) add "for i = 1, 2 do" block(d) add "end" end,
    function(d) add "for _, v in ipairs { 1, 'function (' } do" block(d) add "end" end,
    function(d)
      add "if n % 2 == 0 then" block(d)
      add "elseif n % 3 == 0 then" block(d)
      add "else" block(d)
      add "end"
    end,
    function(d) add "do" block(d) add "end" end,
    function(d) add "repeat local z = true" block(d) add "until z" end,
    function(d) add "local k = 0 while k < 2 do k = k + 1" block(d) add "end" end,
    function(d) add "local _ = (function(a, ...) n = n + select('#', ...) + a" block(d) add "end)(n, 1, '\\'do');" end,
    function(d)
      add "local function f(x) if x == 0 then return 1 end" block(d)
      add "return f(x - 1) end n = n + f(1)"
    end,
    function(d)
      labels = labels + 1
      local name = "l" .. labels
      add("for j = 1, 2 do if n % 2 == 0 then goto " .. name .. " end local w = j n = n + w")
      block(d)
      add("::" .. name .. ":: end")
    end,
    function(d)
      labels = labels + 1
      add("do local c = 0 ::b" .. labels .. ":: c = c + 1")
      block(d)
      add("if c < 2 then goto b" .. labels .. " end end")
    end,
    function() add "local t = { ['repeat'] = n, goto = 2, [1] = [==[ ]] do ]==] } n = n + t.goto + t['repeat'] % 7" end,
    function() add "n = n + 0x1p1 + 1e0 + #('\\z \n do') + #[[\n]]" end,
  }
  function block(depth)
    for _ = 1, random(3) do
      space()
      local kind = depth > 0 and random(#KINDS) or random(3)
      KINDS[kind](depth - 1)
    end
    space()
  end
  block(4)
  return "local n, s = ..., '' " .. table.concat(pieces) .. " return n, s"
end

describe("random programs", function()
  it("do the same with ticks", function()
    math.randomseed(7)
    local ran = 0
    for _ = 1, 1500 do
      local text = random_program(math.random)
      local plain = load(text)
      if plain then -- some have a break in logic, such as a jump into a local's scope: not programs
        same(text, 3)
        ran = ran + 1
      end
    end
    assert.is_true(ran > 1000, ran .. " of 1500 were programs")
  end)
end)

-- What does not return, each as the body of an identify.
local ENDLESS = {
  ["while"] = "while true do end",
  ["while that counts"] = "local n = 0 while true do n = n + 1 end",
  ["repeat"] = "repeat until false",
  ["for"] = "for i = 1, 1/0 do end",
  ["for in"] = "for _ in function() return 1 end do end",
  ["goto"] = "::top:: goto top",
  ["goto with work"] = "local n = 0 ::top:: n = n + 1 if n > 0 then goto top end",
  ["recursion"] = "local function f(n) return 1 + f(n + 1) end while true do pcall(f, 1) end",
  ["tail recursion"] = "local function f(n) return f(n + 1) end f(1)",
  ["mutual recursion"] = "local g local function f() return g() end function g() return f() end f()",
  ["an iterator"] = "local t = setmetatable({}, { __index = function(_, k) return k end }) while t[1] do end",
  ["strings"] = "local s = 'x' while true do s = s .. 'x' if #s > 1000 then s = 'x' end end",
  ["long strings"] = "local s = ('x'):rep(60000) while true do local t = s .. #s s = t:sub(1, 60000) end",
  ["tables"] = "while true do local t = {} for i = 1, 10 do t[i] = {} end end",
  ["closures"] = "while true do local f = function() end f() end",
  ["sort"] = "while true do table.sort({ 3, 2, 1 }, function(a, b) return a < b end) end",
  ["pcall around the loop"] = "pcall(function() while true do end end) return true",
  ["pcall in the loop"] = "while true do pcall(function() while true do end end) end",
  ["pcall of pcall"] = "pcall(pcall, function() while true do end end) return true",
  ["errors"] = "while true do pcall(error, 'x') end",
  ["a metamethod"] = "local t = setmetatable({}, { __add = function(a) while true do end end }) return t + 1",
  ["tostring"] = "tostring(setmetatable({}, { __tostring = function() while true do end end }))",
  ["buf"] = "while true do buf:find 'x' end",
}

describe("a function that does not return", function()
  local function stopped(body)
    local functions, view, errors = mock.script(
      "\nrx.protocol 'g' { identify = function(buf)\n" .. body .. " end } rx.listen 'a:1' { fallback_tcp = rx.drop }")
    assert.same({}, errors)
    for _ = 1, 3 do -- interpreted, and compiled
      local since = os.clock()
      local ok, wrong = mock.call(view, functions[1], { bytes = "xyz", budget = 10 })
      local took = os.clock() - since
      assert.is_false(ok)
      assert.matches("stopped: ran longer than script_budget", wrong, 1, true)
      assert.is_true(took < 0.5, ("%s took %.0f ms"):format(body, took * 1000))
    end
  end

  for name, body in pairs(ENDLESS) do
    it("is stopped: " .. name, function() stopped(body) end)
  end

  it("is stopped where it is, and the next call runs", function()
    local functions, view = mock.script [[
      rx.protocol "g" { identify = function(buf)
        if buf[0] == 1 then
          while true do end
        end
        return true
      end } rx.listen "a:1" { fallback_tcp = rx.drop }]]
    local ok, wrong = mock.call(view, functions[1], { bytes = "\1", budget = 5 })
    assert.is_false(ok)
    assert.equal("refractium.lua:3: stopped: ran longer than script_budget", wrong)
    assert.same({ true, 1 }, { mock.call(view, functions[1], { bytes = "\2" }) })
  end)

  it("does not hold up the load of a worker", function()
    local since = os.clock()
    local functions = mock.script(
      "rx.protocol 'g' { identify = function() repeat until nil end } rx.listen 'a:1' { fallback_tcp = rx.drop }",
      true)
    assert.equal(1, #functions)
    assert.is_true(os.clock() - since < 1)
  end)

  it("leaves pcall as it was otherwise", function()
    local functions, view = mock.script [[
      rx.protocol "g" { identify = function()
        local ok, wrong = pcall(error, "x", 0)
        local a, b, c = pcall(function(...) return ... end, 2, nil)
        return not ok and wrong == "x" and a and b == 2 and c == nil and select("#", pcall(print and tostring, 1)) == 2
      end } rx.listen "a:1" { fallback_tcp = rx.drop }]]
    assert.same({ true, 1 }, { mock.call(view, functions[1], {}) })
  end)
end)
