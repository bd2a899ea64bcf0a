-- Hooks, rx.every and rx.file: what is declared, what is refused, and what the functions see.
package.path = "tests/lua/?.lua;lua/?.lua;" .. package.path
local mock = require "mock_door"

local function says(body, ...)
  local _, errors = mock.config(body)
  assert.same({ ... }, errors)
end

local END = " rx.listen 'a:1' { fallback_tcp = rx.drop }"

describe("hooks are built", function()
  it("once, and used where they stand", function()
    local door, errors = mock.config [[
      local h = rx.hook "h" { on_open = function() end, on_close = function() end }
      rx.server { hooks = { h } }
      rx.listen "a:1" { hooks = { h }, routes = { { rx.tls, to = "h:1", hooks = { h }, mirror = "m:1" } } }]]
    assert.same({}, errors)
    local made = mock.calls(door, "hook_new")
    assert.equal(1, #made)
    assert.same({ "h", "refractium.lua:1", 1, 0, 2, 0 }, { made[1][2].name, made[1][2].where, made[1][2].on_open,
      made[1][2].on_data, made[1][2].on_close, made[1][2].filter })
    local uses = {}
    for _, call in ipairs(mock.calls(door, "hook_use")) do
      uses[#uses + 1] = call[2].scope .. " " .. call[2].owner .. " " .. call[2].hook
    end
    assert.same({ "0 -1 0", "1 0 0", "2 0 0" }, uses)
    assert.equal(1, mock.calls(door, "route_new")[1][3].mirror.kind)
  end)

  it("from the keys of a listener and a route", function()
    local door, errors = mock.config [[
      rx.listen "a:1" { on_open = function() end,
        routes = { { rx.tls, to = "h:1", filter = function() end, on_data = function() end } } }]]
    assert.same({}, errors)
    local made = mock.calls(door, "hook_new")
    assert.same({ 'listen "a:1"', 'listen "a:1".routes[1]' }, { made[1][2].name, made[2][2].name })
    assert.is_true(made[2][2].filter > 0 and made[2][2].on_data > 0 and made[2][2].on_open == 0)
  end)

  it("and timers and files with them", function()
    local door, errors = mock.config([[
      local f = rx.file("x.log", { max = "1m" })
      rx.every("10s", function() f:write "x" end)]] .. END)
    assert.same({}, errors)
    assert.same({ 1, 10000 }, { mock.calls(door, "timer_new")[1][2], mock.calls(door, "timer_new")[1][3] })
    local file = mock.calls(door, "file_new")[1][2]
    assert.same({ "x.log", 1048576, "refractium.lua:1" }, { file.path, file.max_bytes, file.where })
  end)
end)

describe("is refused:", function()
  it("a hook that does nothing", function()
    says("rx.hook 'h' {}" .. END,
        'refractium.lua:1: hook "h": has nothing to do: give on_open, on_data, on_close or filter')
  end)

  it("a misspelt function", function()
    says("rx.hook 'h' { on_opne = function() end }" .. END,
      'refractium.lua:1: hook "h".on_opne: unknown key (did you mean "on_open"?)',
      'refractium.lua:1: hook "h": has nothing to do: give on_open, on_data, on_close or filter')
  end)

  it("two hooks of one name", function()
    says("local f = function() end rx.hook 'h' { on_open = f } rx.hook 'h' { on_open = f }" .. END,
      'refractium.lua:1: hook "h": declared twice (first on line 1)')
  end)

  it("what is no hook", function()
    says("rx.listen 'a:1' { fallback_tcp = rx.drop, hooks = { rx.drop } }",
      'refractium.lua:1: listen "a:1".hooks[1]: must be a hook, not rx.drop')
    says("rx.listen 'a:1' { fallback_tcp = rx.drop, hooks = rx.hook 'h' { on_open = function() end } }",
      'refractium.lua:1: listen "a:1".hooks: must be a list of hooks { rx.hook "name" { ... }, ... }, not rx.hook "h"')
  end)

  it("a mirror that is no backend", function()
    says("rx.listen 'a:1' { routes = { { rx.tls, to = 'h:1', mirror = rx.echo } } }",
      'refractium.lua:1: listen "a:1".routes[1].mirror: must be a pool or an address: ' ..
        'it gets a copy of what clients say')
    says("rx.listen 'a:1' { routes = { { rx.tls, to = rx.echo, mirror = 'h:1' } } }",
      'refractium.lua:1: listen "a:1".routes[1].mirror: only what goes to a pool or an address is mirrored')
  end)

  it("a timer without its time or function", function()
    says("rx.every(10, function() end)" .. END, 'refractium.lua:1: rx.every: 10 has no unit (write "10s" or "10ms")')
    says("rx.every('1ms', function() end)" .. END, 'refractium.lua:1: rx.every: must be between 10ms and 1d, not "1ms"')
    says("rx.every('1s', 3)" .. END,
      'refractium.lua:1: rx.every: needs a function: rx.every("10s", function() ... end), not a number')
  end)

  it("a file without a path, or with an option nobody knows", function()
    says("rx.file(3)" .. END,
        'refractium.lua:1: rx.file: needs the path of a file, as in rx.file "access.log", not a number')
    says("rx.file('f', { mx = '1m' })" .. END, 'refractium.lua:1: rx.file "f": has no option mx (only max)')
  end)

  it("writing a file while the config loads", function()
    local _, errors = mock.config("local f = rx.file 'f' f:write 'x'" .. END)
    assert.equal(1, #errors)
    assert.truthy(errors[1]:find("files are written by hooks and rx.every", 1, true))
  end)
end)

-- The n-th function of a config, ready to be called as the program does.
local function loaded(body)
  local functions, view, errors = mock.script(body .. END, true)
  assert.same({}, errors)
  return functions, view
end

describe("what a hook sees", function()
  it("is the connection, the direction and the bytes", function()
    local functions, view = loaded [[rx.hook 'h' { on_data = function(conn, direction, buf)
      rx.log.info(conn.host .. " " .. direction .. " " .. buf:sub(0)) end }]]
    view.facts = { host = "a.test" }
    for i, word in ipairs { "to_server", "to_client" } do
      view.call.direction = i - 1
      assert.is_true(mock.call(view, functions[1], { conn = true, bytes = "xyz" }))
      assert.equal("a.test " .. word .. " xyz", view.logged[i][2])
    end
  end)

  it("dies with its call, also when the next call is about another connection", function()
    local functions, view = loaded [[local kept, client rx.hook 'h' {
      on_open = function(conn) kept, client = conn, conn.client end,
      on_close = function(conn) rx.log.info(conn.host) rx.log.info(pcall(function() return kept.host end) and "alive" or
        "dead") rx.log.info(pcall(function() return client.ip end) and "alive" or "dead") return kept.host end }]]
    view.facts = { host = "one", client_ip = "::1" }
    view.call.serial = 1
    assert.is_true(mock.call(view, functions[1], { conn = true }))
    view.facts = { host = "two", client_ip = "::2" }
    view.call.serial = 2
    local ok, wrong = mock.call(view, functions[2], { conn = true })
    assert.is_false(ok)
    assert.truthy(wrong:find "conn is used after its call")
    assert.same({ "two", "dead", "dead" }, { view.logged[1][2], view.logged[2][2], view.logged[3][2] })
  end)

  it("cannot be written", function()
    local functions, view = loaded "rx.hook 'h' { on_open = function(conn) conn.host = 'x' end }"
    local ok, wrong = mock.call(view, functions[1], { conn = true })
    assert.is_false(ok)
    assert.truthy(wrong:find "conn.host cannot be changed")
  end)
end)

describe("a filter answers", function()
  for _, case in ipairs {
    { "nil", nil }, { "'new'", "new" }, { "''", "" }, { "rx.refuse", false },
  } do
    it(case[1], function()
      local functions, view = loaded("rx.hook 'h' { filter = function() return " .. case[1] .. " end }")
      local ok, answer = mock.call(view, functions[1], { conn = true, bytes = "x" })
      assert.is_true(ok)
      assert.equal(case[2], answer)
    end)
  end

  it("nothing else", function()
    local functions, view = loaded "rx.hook 'h' { filter = function() return 3 end }"
    local ok, wrong = mock.call(view, functions[1], { conn = true, bytes = "x" })
    assert.is_false(ok)
    assert.truthy(wrong:find("filter must return nil, a string or rx.refuse; got 3", 1, true))
  end)
end)

describe("a file", function()
  it("takes strings, and says when it is full", function()
    local functions, view = loaded [[local f = rx.file 'f' rx.every('1s', function()
      rx.log.info(f:size()) rx.log.info(f:write "abc") rx.log.info(f:write "d") f:write(3) end)]]
    local written = {}
    function view.file_size() return 7 end
    function view.file_write(id, text)
      written[#written + 1] = id .. text
      return #written - 1
    end
    local ok, wrong = mock.call(view, functions[1], {})
    assert.is_false(ok)
    assert.truthy(wrong:find "string expected, got number")
    assert.same({ "0abc", "0d" }, written)
    assert.same({ "7", "true", "false" }, { view.logged[1][2], view.logged[2][2], view.logged[3][2] })
  end)
end)
