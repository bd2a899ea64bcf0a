-- The command line: -f rules without and with a file, and the options that override one.
local mock = require "mock_door"

local function spec_of(door, builder, n)
  local call = mock.calls(door, builder)[n or 1]
  return call[#call]
end

local function rules(...)
  return { forward = { ... } }
end

local function rule_says(rule, words, refuse)
  local _, errors = mock.load(nil, rules(rule), refuse)
  assert.same({ '-f "' .. rule .. '": ' .. words }, errors)
end

local function conditions(door)
  local out = {}
  for i, call in ipairs(mock.calls(door, "route_cond")) do
    out[i] = call[3] .. " " .. call[4]
  end
  return out
end

describe("-f", function()
  it("needs no file", function()
    local door, errors = mock.load(nil, rules("http=127.0.0.1:80", "ssh=h:22"))
    assert.same({}, errors)
    assert.equal("0.0.0.0:8080", mock.calls(door, "listen_bind")[1][3])
    assert.equal(2, #mock.calls(door, "route_new"))
    assert.equal('-f "http=127.0.0.1:80"', spec_of(door, "route_new").where)
    local l = spec_of(door, "listen_new")
    assert.same({ "command line", 3000, 16384, 64, 5000, 3600000 },
      { l.where, l.peek_ms, l.peek_bytes, l.ipv6_prefix, l.connect_ms, l.idle_ms })
  end)

  it("listens where it is told", function()
    for _, case in ipairs {
      { "127.0.0.1", "9000", "127.0.0.1:9000" }, { "::1", "9000", "[::1]:9000" }, { "[::]", "1", "[::]:1" },
      { "*", "80-90", "*:80-90" }, { "unix:/x", "80", "unix:/x" },
    } do
      local door, errors = mock.load(nil, { forward = { "any=h:1" }, bind = case[1], port = case[2] })
      assert.same({}, errors)
      assert.equal(case[3], mock.calls(door, "listen_bind")[1][3])
    end
  end)

  it("matches names by what the protocol has", function()
    local door, errors = mock.load(nil, rules("tls/*.a.test=h:1", "https/b.test=h:2", "http/c.test=h:3",
      "dns/d.test=h:4"))
    assert.same({}, errors)
    assert.same({ "0 *.a.test", "0 b.test", "1 c.test", "2 d.test" }, conditions(door))
  end)

  it("adds targets", function()
    local door = mock.load(nil, rules("http/a=h:1,h:2", "http=h:4", "http/a=h:3"))
    assert.equal(2, #mock.calls(door, "route_new"))
    local backends = mock.calls(door, "pool_backend")
    assert.same({ "h:1", "h:2", "h:3", "h:4" },
      { backends[1][3].addr, backends[2][3].addr, backends[3][3].addr, backends[4][3].addr })
    assert.equal(backends[1][2], backends[3][2])
  end)

  it("takes a transport", function()
    local door, errors = mock.load(nil, rules("udp:dns=h:53", "tcp:dns=h:54", "tcp:tls=h:1", "any=h:2"))
    assert.same({}, errors)
    local transports = {}
    for i, call in ipairs(mock.calls(door, "route_new")) do
      transports[i] = call[3].transport
    end
    assert.same({ 2, 1, 1, 0 }, transports)
    rule_says("udp:tls=h:1", "tls is spoken over tcp only")
    rule_says("udp:dns=h:1", "dns cannot be limited to udp in this version", { lacks = "transport" })
  end)

  it("explains what is wrong", function()
    local grammar = "(write [tcp:|udp:]PROTO[/NAME]=TARGET[,TARGET...])"
    rule_says("foo", 'has no "=" ' .. grammar)
    rule_says("=h:1", "names no protocol " .. grammar)
    rule_says("http=", "names no target")
    rule_says("http=h:1,", "has an empty target")
    rule_says("http=,h:1", "has an empty target")
    rule_says("http=h:1,,h:2", "has an empty target")
    rule_says("http/=h:1", 'has nothing after the "/"')
    rule_says("htpt=h:1", 'no protocol named "htpt" (did you mean "http"?)')
    rule_says("ssh/x=h:1", "ssh has no name to match")
    rule_says("http=h", '"h" is no address: does not parse')
    rule_says("http/a.*.b=h:1",
      '"a.*.b" has a "*" that is not the first label (write "*.example.com", or a "~regex")')
  end)

  it("shows all that is wrong", function()
    local _, errors, _, n = mock.load(nil, rules("foo", "bar=1"))
    assert.equal(2, n)
    assert.equal(2, #errors)
  end)
end)

local ONE = [[
rx.listen { "1.1.1.1:80", "[::]:80", "unix:/x" } { routes = { { rx.ssh, to = "h:22" } }, peek_timeout = "1s" }
rx.test "t" { listener = "[::]:80", send = "x", expect = { more = true } }]]

describe("-f with a file", function()
  it("comes before the file's routes on every listener", function()
    local door, errors = mock.config([[
      rx.listen "a:1" { routes = { { rx.ssh, to = rx.drop } } }
      rx.listen "a:2" {}
      rx.protocol "game" { prefix = "x" }]], rules("http=h:1", "game=h:2"))
    assert.same({}, errors)
    local where = {}
    for i, call in ipairs(mock.calls(door, "route_new")) do
      where[i] = call[2] .. " " .. call[3].where
    end
    local first, second = mock.calls(door, "listen_bind")[1][2], mock.calls(door, "listen_bind")[2][2]
    assert.same({
      first .. ' -f "http=h:1"', first .. ' -f "game=h:2"', first .. " refractium.lua:1",
      second .. ' -f "http=h:1"', second .. ' -f "game=h:2"',
    }, where)
  end)
end)

describe("-b and -p with a file", function()
  local function binds(cli)
    local door, errors = mock.config(ONE, cli)
    assert.same({}, errors)
    local out = {}
    for i, call in ipairs(mock.calls(door, "listen_bind")) do
      out[i] = call[3]
    end
    return out, spec_of(door, "test_new").listener
  end

  it("change nothing unless typed", function()
    local addresses, listener = binds { bind = "0.0.0.0", port = "8080", explicit = {} }
    assert.same({ "1.1.1.1:80", "[::]:80", "unix:/x" }, addresses)
    assert.equal("[::]:80", listener)
  end)

  it("override the only listener", function()
    local addresses, listener = binds { bind = "::1", port = "9", explicit = { bind = true, port = true } }
    assert.same({ "[::1]:9" }, addresses)
    assert.equal("[::1]:9", listener)
  end)

  it("override one part alone", function()
    local _, errors = mock.config(ONE, { bind = "::1", port = "9", explicit = { port = true } })
    assert.same({ '--port: cannot be put into the listener "unix:/x"' }, errors)
    local door = mock.config('rx.listen { "1.1.1.1:80", "[::]:81" } { fallback_tcp = rx.drop }',
      { port = "9", explicit = { port = true } })
    assert.equal("1.1.1.1:9", mock.calls(door, "listen_bind")[1][3])
    assert.equal("[::]:9", mock.calls(door, "listen_bind")[2][3])
    door = mock.config('rx.listen { "1.1.1.1:80", "[::]:81" } { fallback_tcp = rx.drop }',
      { bind = "2.2.2.2", explicit = { bind = true } })
    assert.equal("2.2.2.2:80", mock.calls(door, "listen_bind")[1][3])
    assert.equal("2.2.2.2:81", mock.calls(door, "listen_bind")[2][3])
  end)

  it("are not clear with several listeners", function()
    local two = 'rx.listen "a:1" { fallback_tcp = rx.drop } rx.listen "a:2" { fallback_tcp = rx.drop }'
    local _, errors = mock.config(two, { port = "9", explicit = { port = true } })
    assert.same({
      "--port: refractium.lua has 2 listeners, and it is not clear which one is meant; edit the file instead",
    }, errors)
  end)

  it("must make sense", function()
    for _, port in ipairs { "0", "65536", "x", "80-", "90-80", "-1" } do
      local _, errors = mock.load(nil, { forward = { "any=h:1" }, port = port })
      assert.same({ '--port: must be a port from 1 to 65535, not "' .. port .. '"' }, errors)
    end
    local _, errors = mock.load(nil, { forward = { "any=h:1" }, bind = "no where" })
    assert.same({ '--bind no where --port 8080: "no where:8080" is no address: does not parse' }, errors)
  end)
end)

describe("an option", function()
  it("overrides the file's", function()
    local door, errors, warnings = mock.config('rx.server { workers = 2 } rx.listen "a:1" { fallback_tcp = rx.drop }', {
      workers = "4", max_connections = "5", peek_timeout = "6s", peek_buffer = "1k", log_format = "json",
      no_hot_reload = true, debug = true,
    })
    assert.same({}, errors)
    assert.equal(1, #warnings)
    assert.matches("^%-%-peek%-timeout: 6s is long", warnings[1])
    local s, l = spec_of(door, "server_set"), spec_of(door, "listen_new")
    assert.same({ 4, 5, 2, 6000, 1024 }, { s.workers, s.max_connections, s.log_format, l.peek_ms, l.peek_bytes })
  end)

  it("may say auto", function()
    local two = 'rx.server { workers = 2 } rx.listen "a:1" { fallback_tcp = rx.drop }'
    local door = mock.config(two, { workers = "auto" })
    assert.equal(0, spec_of(door, "server_set").workers)
  end)

  local wrong = {
    { "peek_timeout", "3", '--peek-timeout: "3" has no unit (write "3s" or "3ms")' },
    { "peek_timeout", "1h", '--peek-timeout: must be between 10ms and 10m, not "1h"' },
    { "peek_buffer", "16", '--peek-buffer: "16" has no unit (write "16k" or "16b")' },
    { "max_connections", "many", '--max-connections: must be a whole number, not "many"' },
    { "max_connections", "0", "--max-connections: must be between 1 and 10000000, not 0" },
    { "workers", "x", '--workers: must be "auto" or a whole number, not "x"' },
    { "workers", "-1", "--workers: must be between 1 and 1024, not -1" },
    { "log_format", "jsn",
      '--log-format: must be one of "auto", "text", "json", not "jsn" (did you mean "json"?)' },
  }
  for _, case in ipairs(wrong) do
    it("is checked like the config's: " .. case[1] .. " " .. case[2], function()
      local _, errors = mock.load(nil, { forward = { "any=h:1" }, [case[1]] = case[2] })
      assert.same({ case[3] }, errors)
    end)
  end
end)

describe("one transport only", function()
  local BOTH = [[
local udp = rx.protocol "u" { transport = "udp", prefix = "x" }
rx.listen "a:1" { routes = { { rx.tls, to = rx.drop }, { udp, to = rx.drop }, { rx.dns, to = rx.drop } },
  fallback_tcp = rx.drop, fallback_udp = rx.echo }
rx.listen "a:2" { routes = { { udp, to = rx.drop } } }
rx.test "t" { send = "x", expect = { more = true } }
rx.test "u" { send = "x", transport = "udp", expect = { more = true } }]]

  local function counts(only)
    local door, errors = mock.config(BOTH, { only = only })
    assert.same({}, errors)
    return { #mock.calls(door, "listen_new"), #mock.calls(door, "route_new"), #mock.calls(door, "test_new"),
      spec_of(door, "listen_new").fallback_tcp.kind, spec_of(door, "listen_new").fallback_udp.kind }
  end

  it("leaves the other's listeners, routes, fallbacks and tests out", function()
    assert.same({ 2, 4, 2, 3, 7 }, counts(nil))
    assert.same({ 1, 2, 1, 3, 0 }, counts "tcp")
    assert.same({ 2, 3, 1, 0, 7 }, counts "udp")
  end)

  it("says when nothing is left", function()
    local _, errors = mock.config('rx.listen "a:1" { routes = { { rx.tls, to = rx.drop } } }', { only = "udp" })
    assert.same({ "refractium.lua: nothing here is about udp" }, errors)
  end)
end)

describe("a file", function()
  local load = require "refractium.load"

  local function errors_of(cli)
    local door = mock.new()
    load(door, {}, {}, cli)
    return door.found
  end

  it("that is not there is named", function()
    assert.same({ { 0, "/nonexistent/x.lua: No such file or directory" } }, errors_of { config = "/nonexistent/x.lua" })
  end)

  it("that is a directory is no config", function()
    local found = errors_of { config = "/tmp" }
    assert.equal(1, #found)
    assert.matches("^/tmp: ", found[1][2])
  end)

  it("is read from disk", function()
    local path = os.tmpname()
    local file = assert(io.open(path, "w"))
    file:write 'local rx = require "refractium"\nrx.listen "a:1" { x = 1, fallback_tcp = rx.drop }'
    file:close()
    assert.same({ { 0, path .. ':2: listen "a:1".x: unknown key' } }, errors_of { config = path })
    os.remove(path)
  end)

  it("keeps its whole name in errors however long it is", function()
    local path = ("d/"):rep(60) .. "x.lua"
    local door = mock.new()
    load(door, {}, { [path] = "\nerror 'stop'" }, { config = path })
    assert.equal(path .. ":2: stop", door.found[1][2])
  end)
end)
