-- Functions of the config: what they are given, what their results become, and what they are told when they are wrong.
local mock = require "mock_door"

local REST = " rx.listen 'a:1' { fallback_tcp = rx.drop }"

local function loaded(body, is_worker)
  local functions, view, errors, texts, door = mock.script(body, is_worker)
  assert.same({}, errors)
  return functions, view, texts, door
end

-- One identify with this body, called with these bytes.
local function identify(body, bytes)
  local functions, view = loaded("rx.protocol 'g' { identify = function(buf) " .. body .. " end }" .. REST)
  return mock.call(view, functions[1], { bytes = bytes })
end

-- One route function called with these facts; facts.pool: a list of backends.
local function route(key, body, facts)
  local functions, view = loaded("local web = rx.pool 'web' { 'h:1', 'h:2' } rx.listen 'a:1' { routes = { { rx.tls, "
    .. (key == "to" and "" or "to = web, ") .. key .. " = function(conn) " .. body .. " end } } }")
  view.facts = facts or {}
  return mock.call(view, functions[1], { conn = true })
end

local function balance(body, backends, facts)
  local functions, view = loaded("local web = rx.pool 'web' { 'h:1', 'h:2', balance = function(conn, pool) " .. body
    .. " end } rx.listen 'a:1' { fallback_tcp = web }")
  view.facts, view.backends = facts or {}, backends or { { "h:1", 3 }, { "h:2", 1 } }
  return mock.call(view, functions[1], { conn = true, pool = true })
end

local function accept(body, facts)
  local functions, view = loaded("rx.listen 'a:1' { fallback_tcp = rx.drop, on_accept = function(conn) " .. body
    .. " end }")
  view.facts = facts or {}
  return mock.call(view, functions[1], { conn = true })
end

local function fails(words, ok, wrong)
  assert.is_false(ok)
  assert.equal(words, wrong)
end

describe("identify", function()
  it("answers no, yes and more", function()
    assert.same({ true, 0 }, { identify "" })
    assert.same({ true, 0 }, { identify "return false" })
    assert.same({ true, 0 }, { identify "return nil, 'x'" })
    assert.same({ true, 1 }, { identify "return true" })
    assert.same({ true, 2 }, { identify "return rx.more" })
    assert.same({ true, 1, "k\0y" }, { identify "return true, 'k\\0y'" })
    assert.same({ true, 1, ("k"):rep(255) }, { identify "return true, ('k'):rep(255)" })
  end)

  it("is told what it must return", function()
    local words = "refractium.lua:1: identify must return true, false, rx.more or true, key; got "
    fails(words .. "a table", identify "return {}")
    fails(words .. "1", identify "return 1")
    fails(words .. '"x"', identify "return 'x'")
    fails(words .. "rx.tls", identify "return rx.tls")
    fails(words .. "a cdata", identify "return buf")
    fails(words .. "a cdata", identify "return 1LL")
    fails("refractium.lua:1: identify's key must be a string; got 3", identify "return true, 3")
    fails("refractium.lua:1: identify's key has at most 255 bytes; got 256", identify "return true, ('k'):rep(256)")
  end)

  it("that fails says where", function()
    fails("refractium.lua:1: oh", identify "error 'oh'")
    fails("refractium.lua:3: attempt to index a nil value", identify "\n\nlocal x = (nil).y")
    fails('refractium.lua:2: unknown name "bfu" (did you mean "buf"?)', identify "\nreturn bfu[0] == 1")
  end)

  it("stands alone or beside a prefix", function()
    local _, _, _, door = loaded("rx.protocol 'g' { identify = function() end } rx.protocol 'h' { prefix = 'x',\n"
      .. "identify = function() end, samples = { yes = 'x' } }" .. REST)
    assert.same({ { "fn_new", 0, "refractium.lua:1" }, { "fn_new", 0, "refractium.lua:2" } },
      mock.calls(door, "fn_new"))
    local protocols = mock.calls(door, "proto_new")
    assert.is_true(protocols[1][2].identify > 0 and protocols[2][2].identify > protocols[1][2].identify)
    local _, errors = mock.config("rx.protocol 'g' {}" .. REST)
    assert.same({
      'refractium.lua:1: protocol "g": nothing says how to recognise it: give prefix, patterns or identify',
    }, errors)
  end)
end)

describe("a function that makes another on every call", function()
  local function warnings(body)
    local _, errors, warned = mock.config("rx.protocol 'g' { identify = function(buf)\n" .. body .. "\nend }" .. REST)
    assert.same({}, errors)
    return warned
  end

  it("is warned about, where it does", function()
    local words = 'protocol "g": creates a function on every call: move it out'
    assert.same({ "refractium.lua:3: " .. words },
        warnings "local n = #buf\nlocal f = function() return n end return f()")
    assert.same({ "refractium.lua:2: " .. words }, warnings "return (function() return buf[0] == 1 end)()")
    local _, _, warned = mock.config("rx.listen 'a:1' { routes = { { rx.tls, to = rx.drop,\nwhen = function(conn)\n"
      .. "local t = { function() end } return #t == conn.id end } } }")
    assert.same({ "refractium.lua:3: listen \"a:1\".routes[1].when: creates a function on every call: move it out" },
      warned)
  end)

  it("is not when it is for the rare case, or made once", function()
    assert.same({}, warnings "if #buf > 900 then return pcall(function() error 'x' end) end return false")
    assert.same({}, warnings "for i = 0, #buf do if buf[i] == 300 then return (function() end)() end end")
    assert.same({}, warnings "return buf:starts 'x'")
  end)
end)

describe("a listener's identify", function()
  local function says(body)
    local functions, view = loaded("local web = rx.pool 'web' { 'h:1' } " ..
        "local game = rx.protocol 'game' { prefix = 'G' }"
      .. " rx.listen 'a:1' { routes = { { game, to = web } }, identify = function(buf) " .. body .. " end }")
    return mock.call(view, functions[1], { bytes = "abc" })
  end

  it("names a protocol, a target, or leaves it to the routes", function()
    assert.same({ true, 0 }, { says "" })
    assert.same({ true, 0 }, { says "return false" })
    assert.same({ true, 1 }, { says "return rx.more" })
    assert.same({ true, 2, "game" }, { says "return game" })
    assert.same({ true, 2, "game", "k" }, { says "return game, 'k'" })
    assert.same({ true, 2, "tls" }, { says "return 'https'" })
    assert.same({ true, 3, 1, 0 }, { says "return web" })
    assert.same({ true, 3, 1, 0 }, { says "return 'web'" })
    assert.same({ true, 3, 1, "10.0.0.1:5" }, { says "return '10.0.0.1:5'" })
    assert.same({ true, 3, 1, "127.0.0.1:22" }, { says "if buf[0] == 97 then return 22 end" })
    assert.same({ true, 3, 5, "hi" }, { says "return rx.respond 'hi'" })
    assert.same({ true, 3, 3 }, { says "return rx.drop" })
  end)

  it("is told what it must return", function()
    local words = "refractium.lua:1: identify must return a protocol, a pool, an address, a port, an action, rx.more or"
      .. " nothing; got "
    fails(words .. "0", says "return 0")
    fails(words .. "70000", says "return 70000")
    fails(words .. "a cdata", says "return buf")
    fails("refractium.lua:1: identify's key must be a string; got 3", says "return game, 3")
    fails('refractium.lua:1: identify must return one target; got a table (for several addresses make a pool: rx.pool'
      .. ' "name" { ... })', says "return {}")
  end)

  it("may stand without routes", function()
    local _, errors = mock.config "rx.listen 'a:1' { identify = function() end }"
    assert.same({}, errors)
  end)
end)

describe("buf", function()
  local BYTES = "\1\2\3\4\255\254\r\nAB\r\nC"

  local function gives(expected, expression, bytes)
    local functions, view = loaded("local out rx.protocol 'g' { identify = function(buf) out = " .. expression
      .. " return true, tostring(out) end }" .. REST)
    assert.same({ true, 1, tostring(expected) }, { mock.call(view, functions[1], { bytes = bytes or BYTES }) })
  end

  it("gives numbers", function()
    gives(13, "#buf")
    gives(1, "buf[0]")
    gives(67, "buf[12]")
    gives(-1, "buf[13]")
    gives(-1, "buf[-1]")
    gives(-1, "buf[0/0]")
    gives(1, "buf:u8(0)")
    gives(-1, "buf:u8(13)")
    gives(0x0102, "buf:u16(0)")
    gives(0x0201, "buf:u16le(0)")
    gives(0x010203, "buf:u24(0)")
    gives(0x01020304, "buf:u32(0)")
    gives(4294836746, "buf:u32(4)", "\0\0\0\0\255\254\2\10")
    gives(0x04030201, "buf:u32le(0)")
    for _, name in ipairs { "u16", "u16le", "u24", "u32", "u32le" } do
      gives(-1, "buf:" .. name .. "(12)")
      gives(-1, "buf:" .. name .. "(-1)")
      gives(-1, "buf:" .. name .. "(2^63)")
    end
  end)

  it("searches", function()
    gives(true, "buf:starts '\\1\\2'")
    gives(false, "buf:starts '\\1\\3'")
    gives(true, "buf:starts('AB', 8)")
    gives(false, "buf:starts('C\\0', 12)")
    gives(false, "buf:starts('', -1)")
    gives(true, "buf:starts('', 13)")
    gives(8, "buf:find 'AB'")
    gives(6, "buf:find '\\r\\n'")
    gives(10, "buf:find('\\r\\n', 7)")
    gives(12, "buf:find 'C'")
    gives(nil, "buf:find 'D'")
    gives(nil, "buf:find('C', 13)")
    gives(nil, "buf:find('C', 14)")
    gives(13, "buf:find('', 13)")
    gives(nil, "buf:find 'x'", "")
    gives(nil, "buf:find('C', 0/0)")
  end)

  it("gives strings", function()
    gives("\1\2", "buf:sub(0, 2)")
    gives("AB", "buf:sub(8, 10)")
    gives("C", "buf:sub(-1)")
    gives("\r\n", "buf:sub(-3, -1)")
    gives(BYTES, "buf:sub()")
    gives("", "buf:sub(5, 5)")
    gives("", "buf:sub(9, 2)")
    gives("C", "buf:sub(12, 1/0)")
    gives("\1\2\3\4\255\254", "buf:line()")
    gives("", "buf:line()", "\n")
    gives("a", "buf:line()", "a\nb")
    gives(nil, "buf:line()", "a\r")
    gives("0102", "buf:hex(2)")
    gives("01020304fffe0d0a41420d0a43", "buf:hex()")
    gives("", "buf:hex(-1)")
    gives("buf", "tostring(buf)")
  end)

  it("says what it was not asked well", function()
    fails("refractium.lua:1: number expected, got nothing", identify "return buf:u8()")
    fails("refractium.lua:1: number expected, got cdata", identify "return buf:u16(0xffffffffffffffffULL)")
    fails("refractium.lua:1: number expected, got string", identify "return buf:u32 '1'")
    fails("refractium.lua:1: string expected, got cdata", identify "return buf:starts(buf)")
    fails("refractium.lua:1: string expected, got nothing", identify "return buf:find()")
    fails('refractium.lua:1: buf has no stats (did you mean "starts"?)', identify "return buf:stats 'x'")
    fails("refractium.lua:1: buf has no ptr", identify "return buf.ptr[0] == 1")
    assert.is_false(identify "buf.len = 5")
  end)

  it("is dead after its call", function()
    local functions, view = loaded("local kept rx.protocol 'g' { identify = function(buf) kept = buf return true end }"
      .. "\nrx.listen 'a:1' { routes = { { rx.tls, to = rx.drop,\nwhen = function() return #kept == 3 end } } }")
    mock.call(view, functions[1], { bytes = "abc" })
    local ok, wrong = pcall(functions[2])
    fails("refractium.lua:3: buf is used after its call", ok, wrong)
  end)
end)

describe("conn", function()
  local FACTS = {
    client_ip = "192.0.2.1", client_port = 4000, id = 12, listener = "a:1", transport = "tcp", protocol = "tls",
    sni = "a.test", alpn = "\2h2\8http/1.1", host = "h.test", path = "/x", method = "GET", software = "OpenSSH_9",
    qname = "q.test", qtype = 28, key = "k", route = "r", user = "u", to_port = 443, ech = 1,
  }

  it("gives what is known", function()
    local ok, kind, text = route("to", [[
      local seen = { conn.client.ip, conn.client.port, conn.id, conn.listener, conn.transport, conn.protocol, conn.sni,
        table.concat(conn.alpn, "+"), conn.host, conn.path, conn.method, conn.software, conn.qname, conn.qtype,
        conn.key, conn.route, conn.user, conn.to_port, tostring(conn.ech), tostring(conn), tostring(conn.client) }
      return rx.respond(table.concat(seen, ","))]], FACTS)
    assert.is_true(ok)
    assert.equal(5, kind)
    assert.equal("192.0.2.1,4000,12,a:1,tcp,tls,a.test,h2+http/1.1,h.test,/x,GET,OpenSSH_9,q.test,28,k,r,u,443,true,"
      .. "conn 12 192.0.2.1:4000,192.0.2.1:4000", text)
  end)

  it("gives nil for what is not", function()
    assert.same({ true, true }, { route("when", [[
      return conn.sni == nil and #conn.alpn == 0 and conn.ech == nil and conn.client.port == nil]]) })
  end)

  it("cannot be changed or misread", function()
    fails('refractium.lua:1: conn has no snni (did you mean "sni"?)', route("when", "return conn.snni == 'x'"))
    fails("refractium.lua:1: conn.sni cannot be changed", route("when", "conn.sni = 'x'"))
    fails('refractium.lua:1: conn.client has no prot (did you mean "port"?)', route("when", "return conn.client.prot"))
    assert.is_false(route("when", "conn.client.ip = 'x'"))
    assert.is_false(route("when", "return conn[1]"))
    assert.is_false(route("when", "return conn + 1"))
  end)

  it("is dead after its call, and in calls that have none", function()
    local functions, view = loaded([[local kept, client
      rx.protocol 'g' { identify = function() return kept.sni == "x" end }
      rx.listen 'a:1' { routes = { { rx.tls, to = rx.drop, when = function(conn)
        if kept then return client.ip == "x" end
        kept, client = conn, conn.client
      end } } }]])
    assert.is_true(mock.call(view, functions[2], { conn = true }))
    fails("refractium.lua:2: conn is used after its call", mock.call(view, functions[1], { bytes = "x" }))
    fails("refractium.lua:4: conn is used after its call", pcall(functions[2]))
  end)
end)

describe("when", function()
  it("says yes or no", function()
    assert.same({ true, true }, { route("when", "return conn.sni == 'x'", { sni = "x" }) })
    assert.same({ true, false }, { route("when", "return conn.sni == 'x'") })
    assert.same({ true, false }, { route("when", "") })
  end)

  it("says nothing else", function()
    fails('refractium.lua:1: when must return true or false; got "x"', route("when", "return 'x'"))
    fails("refractium.lua:1: when must return true or false; got rx.drop", route("when", "return rx.drop"))
  end)

  it("is a condition: a route after it can be reached", function()
    local _, _, warnings = mock.config [[rx.listen "a:1" { routes = {
      { rx.tls, when = function() end, to = rx.drop }, { rx.tls, to = function() end }, { rx.tls, to = rx.echo } } }]]
    assert.same({}, warnings)
  end)
end)

describe("to", function()
  it("is any target", function()
    assert.same({ true, 1, 0 }, { route("to", "return web") })
    assert.same({ true, 1, 0 }, { route("to", "return 'web'") })
    assert.same({ true, 1, "h.test:80" }, { route("to", "return 'h.test:80'") })
    assert.same({ true, 1, "127.0.0.1:8080" }, { route("to", "return 8080") })
    assert.same({ true, 2 }, { route("to", "return rx.refuse") })
    assert.same({ true, 3 }, { route("to", "return rx.drop") })
    assert.same({ true, 4 }, { route("to", "return rx.tarpit") })
    assert.same({ true, 5, "x" }, { route("to", "return rx.respond 'x'") })
    assert.same({ true, 6 }, { route("to", "return rx.respond") })
    assert.same({ true, 7 }, { route("to", "return rx.echo") })
    assert.same({ true }, { route("to", "return nil") })
  end)

  it("is nothing else", function()
    local words = "refractium.lua:1: to must return a pool, an address, a port or an action; got "
    fails(words .. "rx.tls", route("to", "return rx.tls"))
    fails(words .. "70000", route("to", "return 70000"))
    fails(words .. '""', route("to", "return ''"))
    fails(words .. "a boolean", route("to", "return true"))
    fails('refractium.lua:1: to must return one target; got a table (for several addresses make a pool:'
      .. ' rx.pool "name" { ... })', route("to", "return { 'h:1', 'h:2' }"))
  end)

  it("is built as a target of its own kind", function()
    local _, _, _, door = loaded "rx.listen 'a:1' { routes = { { rx.tls, to = function() end, fallback = 'h:1' } } }"
    local spec = mock.calls(door, "route_new")[1][3]
    assert.equal(8, spec.to.kind)
    assert.is_true(spec.to.pool > 0)
    assert.equal(1, spec.fallback.kind)
    assert.same({ "fn_new", 2, "refractium.lua:1" }, mock.calls(door, "fn_new")[1])
  end)
end)

describe("balance", function()
  it("is a backend, its number, or nothing", function()
    assert.same({ true, 1 }, { balance "return 2" })
    assert.same({ true, 0 }, { balance "return pool[1]" })
    assert.same({ true }, { balance "" })
    assert.same({ true, 1 }, { balance [[
      local best
      for i = 1, #pool do
        if not best or pool[i].active < best.active then best = pool[i] end
      end
      return best]] })
    assert.same({ true, 0 }, { balance "return pool[1].name == 'h:1' and pool[3] == nil and pool[0] == nil and 1" })
  end)

  it("is nothing else", function()
    local words = "refractium.lua:1: balance must return a backend, its number from 1 to 2, or nil; got "
    fails(words .. "3", balance "return 3")
    fails(words .. "0", balance "return 0")
    fails(words .. "1.5", balance "return 1.5")
    fails(words .. '"h:1"', balance "return 'h:1'")
    fails('refractium.lua:1: a backend has no nmae (did you mean "name"?)', balance "return pool[1].nmae")
    fails("refractium.lua:1: a backend cannot be changed", balance "pool[1].active = 0")
  end)

  it("is not misspelt", function()
    local _, errors = mock.config("rx.pool 'p' { 'h:1', balance = 3 }" .. REST)
    assert.same({ 'refractium.lua:1: pool "p".balance: must be one of "round_robin", "least_conn", "random", "p2c",'
      .. ' "source_ip", "source_socket", "maglev", "first", not 3' }, errors)
  end)
end)

describe("on_accept", function()
  it("refuses or goes on", function()
    assert.same({ true, false }, { accept("return conn.client.ip == 'x' and rx.refuse", { client_ip = "x" }) })
    assert.same({ true, true }, { accept("return conn.client.ip == 'x' and rx.refuse", { client_ip = "y" }) })
    assert.same({ true, true }, { accept "" })
    assert.is_false(accept "error 'x'")
  end)
end)

describe("numbers of functions", function()
  it("are the same in every state", function()
    local body = [[
      local function f() return "x" end
      local late = rx.pool "late" { "h:1", balance = function() return 1 end }
      rx.listen "b:1" { on_accept = function() end, routes = {
        { rx.tls, when = function() return true end, to = function() return late end },
        { rx.http, when = function() return false end, to = "h:9" },
        { rx.ssh, to = function() return "early" end } } }
      local early = rx.pool "early" { "h:2" }
      rx.protocol "p" { identify = function() return true, "first" end }
      rx.protocol "q" { prefix = "x", identify = function() return true, "second" end }
      rx.listen "c:1" { routes = {
        { rx.tls, to = { "h:3", "h:4" } }, { rx.http, to = function() return early end } } }]]
    local answers = {}
    for i, is_worker in ipairs { false, true } do
      local functions, view = loaded(body, is_worker)
      view.backends = { { "h:1", 0 } }
      answers[i] = {}
      for k, wrapper in ipairs(functions) do
        answers[i][k] = { mock.call(view, wrapper, { conn = true, pool = true }) }
      end
    end
    assert.same(answers[1], answers[2])
    assert.same({ { true, 1, "first" }, { true, 1, "second" }, { true, 0 }, { true, true }, { true, true } },
      { unpack(answers[1], 1, 5) })
    assert.equal(9, #answers[1])
  end)

  it("take no door in a worker", function()
    local _, _, _, door = loaded("rx.pool 'p' { 'h:1' } rx.protocol 'g' { identify = function() end }" .. REST, true)
    assert.same({}, door.calls)
    assert.same({}, door.found)
  end)
end)

describe("rx.log", function()
  it("speaks through the program while connections are served", function()
    local functions, view = loaded([[rx.protocol 'g' { identify = function(buf)
      rx.log.info("odd\nclient", { b = 1, a = 'x "y"' }) rx.log.error "e" rx.log.warn(nil) rx.log.debug(buf, { buf })
      return true end }]] .. REST)
    assert.same({ true, 1 }, { mock.call(view, functions[1], {}) })
    assert.same({ { 2, [[odd\x0aclient a="x \"y\"" b=1]] }, { 0, "e" }, { 1, "nil" }, { 3, "buf 1=buf" } }, view.logged)
  end)

  it("has four levels", function()
    local _, errors = mock.config("rx.log.wrn 'x' rx.log 'x'" .. REST)
    assert.same({ 'refractium.lua:1: refractium has no rx.log.wrn (did you mean "warn"?)',
      'refractium.lua:1: rx.log is no verb: write rx.log.info "..."' }, errors)
  end)
end)

describe("verbs", function()
  it("are for the load", function()
    fails("refractium.lua:1: rx.pool can only be used while the config loads", identify "rx.pool 'x' { 'h:1' }")
    fails("refractium.lua:1: rx.include can only be used while the config loads", identify "rx.include 'x'")
    fails("refractium.lua:1: rx.server can only be used while the config loads", identify "rx.server {}")
  end)
end)

describe("rx.server", function()
  it("has a script budget", function()
    local _, _, _, door = loaded("rx.server { script_budget = '20ms' }" .. REST)
    assert.equal(20, mock.calls(door, "server_set")[1][2].script_budget_ms)
    _, _, _, door = loaded(REST)
    assert.equal(50, mock.calls(door, "server_set")[1][2].script_budget_ms)
  end)
end)
