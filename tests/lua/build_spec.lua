-- What a good config becomes: builder calls with the values the program takes.
local mock = require "mock_door"

local function built(body, cli, refuse)
  local door, errors = mock.config(body, cli, refuse)
  assert.same({}, errors)
  return door
end

local function spec_of(door, builder, n)
  local call = mock.calls(door, builder)[n or 1]
  return call[#call]
end

local FALLBACK = "fallback_tcp = rx.drop"

describe("rx.server", function()
  it("has defaults", function()
    local s = spec_of(built('rx.listen "a:1" { ' .. FALLBACK .. " }"), "server_set")
    assert.equal(0, s.workers)
    assert.equal(10000, s.max_connections)
    assert.equal(30000, s.drain_ms)
    assert.equal(0, s.access_log)
    assert.equal(0, s.log_format)
    assert.equal(0, s.fallback_tcp.kind)
    assert.equal(0, s.fallback_udp.kind)
  end)

  it("takes every option", function()
    local s = spec_of(built([[rx.server { workers = 3, max_connections = 7, drain_timeout = "1m",
      access_log = "/x/y", log_format = "json", fallback_tcp = "h:1", fallback_udp = rx.echo }
      rx.listen "a:1" {}]]), "server_set")
    assert.equal(3, s.workers)
    assert.equal(7, s.max_connections)
    assert.equal(60000, s.drain_ms)
    assert.equal(3, s.access_log)
    assert.equal("/x/y", s.access_log_file)
    assert.equal(2, s.log_format)
    assert.equal(1, s.fallback_tcp.kind)
    assert.equal(7, s.fallback_udp.kind)
  end)

  it("hands over what is to be recorded", function()
    local s = spec_of(built("rx.server { record = { file = 'r', sample = '0.5%' } } rx.listen 'a:1' { " .. FALLBACK
      .. " }"), "server_set")
    assert.equal("r", s.record_file)
    assert.equal(5000, s.record_ppm)
    assert.equal(67108864, s.record_max)
    assert.equal(4096, s.record_bytes)
  end)

  it("knows three kinds of access log", function()
    for text, kind in pairs { ["false"] = 1, ["true"] = 2, ['"f"'] = 3 } do
      local body = 'rx.server { access_log = ' .. text .. ' } rx.listen "a:1" { ' .. FALLBACK .. " }"
      assert.equal(kind, spec_of(built(body), "server_set").access_log)
    end
  end)
end)

describe("rx.listen", function()
  it("has defaults", function()
    local l = spec_of(built('\nrx.listen "a:1" { ' .. FALLBACK .. " }"), "listen_new")
    assert.same({
      where = "refractium.lua:2", max_connections = 0, max_connections_per_ip = 0, ipv6_prefix = 64, peek_ms = 3000,
      on_accept = 0, identify = 0, peek_bytes = 16384, max_pending = 0, max_sessions = 0, max_sessions_per_ip = 0,
      backlog = 0, fast_open = 0, keepalive_ms = 0, user_timeout_ms = 0, mark = 0, congestion = "", interface = "",
      udp_idle_ms = 60000, connect_ms = 5000, idle_ms = 3600000, over_limit = 0,
      connection_rate = { count = 0, per_ms = 0, burst = 0 }, rate_per_ip = { count = 0, per_ms = 0, burst = 0 },
      fallback_tcp = { kind = 3, pool = -1, text = "" }, fallback_udp = { kind = 0, pool = -1, text = "" },
    }, l)
  end)

  it("takes every option", function()
    local l = spec_of(built([[rx.listen "a:1" { max_connections = 1000, max_connections_per_ip = 5,
      ipv6_prefix = 56, peek_timeout = "1s", peek_buffer_size = "4k", max_pending = 9, connect_timeout = "2s",
      idle_timeout = "5m", fallback_tcp = rx.refuse, fallback_udp = rx.tarpit }]]), "listen_new")
    assert.same({ 1000, 5, 56, 1000, 4096, 9, 2000, 300000, 2, 4 }, {
      l.max_connections, l.max_connections_per_ip, l.ipv6_prefix, l.peek_ms, l.peek_bytes, l.max_pending,
      l.connect_ms, l.idle_ms, l.fallback_tcp.kind, l.fallback_udp.kind,
    })
  end)

  it("takes rates with and without a burst, and what becomes of whom they keep out", function()
    local l = spec_of(built([[rx.listen "a:1" { connection_rate = { "10/m", burst = 3 }, rate_per_ip = "50/s",
      over_limit = rx.tarpit, fallback_tcp = rx.drop }]]), "listen_new")
    assert.same({ count = 10, per_ms = 60000, burst = 3 }, l.connection_rate)
    assert.same({ count = 50, per_ms = 1000, burst = 0 }, l.rate_per_ip)
    assert.equal(4, l.over_limit)
  end)

  it("names its proxies", function()
    local door = built('rx.listen "a:1" { proxy_protocol = { from = { "10.0.0.0/8", "unix" } }, ' .. FALLBACK .. " }")
    local from = mock.calls(door, "listen_proxy")
    assert.same({ "10.0.0.0/8", "unix" }, { from[1][3], from[2][3] })
  end)

  it("takes how fast the bytes of a route may go", function()
    local door = built([[rx.listen "a:1" { routes = { { rx.ssh, to = rx.drop, rate = "10m/s", rate_total = "1.5k/s" },
      { rx.tls, to = rx.drop } } }]])
    local one, two = spec_of(door, "route_new", 1), spec_of(door, "route_new", 2)
    assert.same({ 10485760, 1536, 0, 0 }, { one.rate, one.rate_total, two.rate, two.rate_total })
  end)

  it("binds all its addresses", function()
    local door = built('rx.listen { "a:1", "[::]:8000-8010", "unix:/x" } { ' .. FALLBACK .. " }")
    local binds = mock.calls(door, "listen_bind")
    assert.same({ "a:1", "[::]:8000-8010", "unix:/x" }, { binds[1][3], binds[2][3], binds[3][3] })
    assert.equal(binds[1][2], binds[3][2])
  end)
end)

describe("options of sockets", function()
  it("are the pool's, but for transparent", function()
    local door = built([[local p = rx.pool "p" { "h:1", keepalive = "60s", user_timeout = "5s", mark = 4294967295,
        congestion = "reno", interface = "eth0.1" }
      rx.listen "a:1" { routes = { { rx.tls, to = p, transparent = true }, { rx.http, to = p } } }]])
    local p, routes = mock.calls(door, "pool_new")[1][2], mock.calls(door, "route_new")
    assert.same({ 60000, 5000, 4294967295, "reno", "eth0.1" },
      { p.keepalive_ms, p.user_timeout_ms, p.mark, p.congestion, p.interface })
    assert.same({ true, false }, { routes[1][3].is_transparent, routes[2][3].is_transparent })
  end)
end)

describe("options of listening sockets", function()
  it("are the listener's", function()
    local door = built('rx.listen "a:1" { keepalive = "60s", user_timeout = "5s", mark = 7, congestion = "reno",'
      .. ' interface = "eth0", backlog = 100, fast_open = 16, ' .. FALLBACK .. " }")
    local l = spec_of(door, "listen_new", 1)
    assert.same({ 60000, 5000, 7, "reno", "eth0", 100, 16 },
      { l.keepalive_ms, l.user_timeout_ms, l.mark, l.congestion, l.interface, l.backlog, l.fast_open })
  end)
end)

describe("send_proxy", function()
  it("is what to send, in bits", function()
    local door = built([[local p = rx.pool "p" { "h:1", send_proxy = "v1" }
      rx.listen "a:1" { routes = { { rx.tls, to = p },
        { rx.http, to = p, send_proxy = { unique_id = true, crc32c = true } },
        { rx.ssh, to = p, send_proxy = "v2" } } }]])
    local routes = mock.calls(door, "route_new")
    assert.same({ 1, 0, 14, 2 }, {
      mock.calls(door, "pool_new")[1][2].send_proxy, routes[1][3].send_proxy, routes[2][3].send_proxy,
      routes[3][3].send_proxy,
    })
  end)
end)

describe("a route", function()
  it("carries every condition", function()
    local door = built([[rx.listen "a:1" { routes = {
      { rx.tls, sni = { "a.test", "*.b.test", "~^c" }, alpn = "h2", ech = false, to = rx.drop },
      { rx.http, host = "a.test", path = "/x", method = { "GET", "PUT" }, to = rx.drop },
      { rx.ssh, software = "OpenSSH", from = "10.0.0.0/8", not_from = { "10.1.0.0/16" },
        to_port = { 22, "8000-8010" }, during = { "Mon-Fri 08:00-18:00", "Sat" }, to = rx.drop },
      { rx.dns, qname = "a.test", qtype = { "aaaa", 65, "TYPE64" }, to = rx.drop },
      { rx.protocol "g" { prefix = "x" }, key = "k", to = rx.drop },
    } }]])
    local conditions = {}
    for i, call in ipairs(mock.calls(door, "route_cond")) do
      conditions[i] = call[3] .. " " .. call[4]
    end
    assert.same({
      "0 a.test", "0 *.b.test", "0 ~^c", "3 h2", "1 a.test", "4 /x", "5 GET", "5 PUT", "6 OpenSSH",
      "7 10.0.0.0/8", "8 10.1.0.0/16", "9 22", "9 8000-8010", "12 Mon-Fri 08:00-18:00",
      "12 Sat", "2 a.test", "10 AAAA", "10 65", "10 TYPE64", "11 k",
    }, conditions)
    assert.equal(2, spec_of(door, "route_new", 1).ech)
    assert.equal(0, spec_of(door, "route_new", 2).ech)
  end)

  it("carries every option, and its own line", function()
    local door = built([[rx.listen "a:1" {
      routes = {
        { rx.tls, sni = "x", to = "h:1", name = "front", fallback = rx.refuse, priority = "throughput",
          idle_timeout = "1m", connect_timeout = "1s", max_connections = 4 },

        { rx.any, to = rx.drop } } }]])
    local r = spec_of(door, "route_new")
    assert.same({ "front", 2, 60000, 1000, 4, 1, 2, "refractium.lua:3" },
      { r.name, r.priority, r.idle_ms, r.connect_ms, r.max_connections, r.to.kind, r.fallback.kind, r.where })
    assert.equal("refractium.lua:6", spec_of(door, "route_new", 2).where)
  end)

  it("on rx.web is built for tls and for quic, to one pool, with one line", function()
    local door = built([[rx.listen "a:1" { routes = {
      { rx.web, sni = "x", alpn = "h3", name = "site", to = { "h:1", "h:2" } },
      { rx.dns, to = rx.drop } } }]])
    local protos = {}
    for i, call in ipairs(mock.calls(door, "proto_builtin")) do
      protos[i] = call[2]
    end
    assert.same({ "tls", "quic", "dns" }, protos)
    local one, other = spec_of(door, "route_new", 1), spec_of(door, "route_new", 2)
    assert.equal(3, #mock.calls(door, "route_new"))
    assert.equal(one.to.pool, other.to.pool)
    assert.same({ "site", "refractium.lua:2" }, { other.name, other.where })
    assert.equal(1, #mock.calls(door, "pool_new"))
    assert.equal(4, #mock.calls(door, "route_cond"))
  end)

  it("leads to every kind of target", function()
    local kinds = {}
    local door = built([[local web = rx.pool "web" { "h:1" }
      rx.listen "a:1" { routes = {
      { rx.tls, sni = "1", to = web }, { rx.tls, sni = "2", to = "web" }, { rx.tls, sni = "3", to = "h:2" },
      { rx.tls, sni = "4", to = { "h:3", { "h:4", weight = 3, backup = true } } },
      { rx.tls, sni = "5", to = rx.refuse }, { rx.tls, sni = "6", to = rx.drop }, { rx.tls, sni = "7", to = rx.tarpit },
      { rx.tls, sni = "8", to = rx.respond }, { rx.tls, sni = "9", to = rx.respond "hi\0\n" },
      { rx.tls, sni = "10", to = rx.echo } } }]])
    for i, call in ipairs(mock.calls(door, "route_new")) do
      kinds[i] = call[3].to.kind
    end
    assert.same({ 1, 1, 1, 1, 2, 3, 4, 6, 5, 7 }, kinds)
    assert.equal("hi\0\n", spec_of(door, "route_new", 9).to.text)
    assert.equal(spec_of(door, "route_new", 1).to.pool, spec_of(door, "route_new", 2).to.pool)
    assert.same({ addr = "h:4", weight = 3, is_backup = true, max_connections = 0 }, spec_of(door, "pool_backend", 4))
  end)

  it("shares the pool of an address that is named again", function()
    local door = built('rx.listen "a:1" { routes = { { rx.tls, to = "h:1" }, { rx.ssh, to = "h:1" } } }')
    assert.equal(1, #mock.calls(door, "pool_new"))
    assert.equal("", spec_of(door, "pool_new").name)
  end)

  it("knows a protocol by its alias", function()
    local door = built('rx.listen "a:1" { routes = { { rx.https, to = rx.drop } } }')
    assert.equal("tls", mock.calls(door, "proto_builtin")[1][2])
    assert.equal(1, #mock.calls(door, "proto_builtin"))
  end)
end)

describe("rx.protocol and rx.pool", function()
  it("are built with all they have", function()
    local door = built([[
      rx.protocol "g" { transport = "udp", prefix = { "A", "B" }, patterns = "\1\0", within = "2k",
        samples = { yes = "A", no = { "C", "D" } } }
      rx.server { resolver = { "127.0.0.1:5353", "::1" } }
      rx.pool "p" { "h:1", { "h:2", weight = 2, max_connections = 9 }, tries = 1, balance = "maglev",
        slow_start = "30s", eject_after = 0, eject_time = "2s", ttl = { min = "1s", max = "10s" },
        source = { "10.0.0.1", "10.0.0.5-10.0.0.9" } }
      rx.listen "a:1" { fallback_tcp = rx.drop }]])
    assert.same({ name = "g", transport = 2, within = 2048, identify = 0, is_server_first = false },
      spec_of(door, "proto_new"))
    assert.equal("B", mock.calls(door, "proto_prefix")[2][3])
    assert.equal("\1\0", mock.calls(door, "proto_pattern")[1][3])
    local samples = mock.calls(door, "proto_sample")
    assert.same({ 1, "A", 0, "C", 0, "D" },
      { samples[1][3], samples[1][4], samples[2][3], samples[2][4], samples[3][3], samples[3][4] })
    assert.same({ name = "p", balance = 6, tries = 1, policy = 0, slow_start_ms = 30000, eject_after = 0,
      eject_ms = 2000, ttl_min_ms = 1000, ttl_max_ms = 10000,
      send_proxy = 0, keepalive_ms = 0, user_timeout_ms = 0, mark = 0, congestion = "", interface = "" },
      spec_of(door, "pool_new"))
    local sources = mock.calls(door, "pool_source")
    assert.same({ "10.0.0.1", "10.0.0.5-10.0.0.9" }, { sources[1][3], sources[2][3] })
    assert.equal("127.0.0.1:5353,::1", spec_of(door, "server_set").resolver)
    local backends = mock.calls(door, "pool_backend")
    assert.same({ addr = "h:1", weight = 1, is_backup = false, max_connections = 0 }, backends[1][3])
    assert.same({ addr = "h:2", weight = 2, is_backup = false, max_connections = 9 }, backends[2][3])
  end)

  it("have the defaults nobody changed, with a name and without", function()
    local door = built([[
      rx.pool "p" { "h:1" }
      rx.listen "a:1" { fallback_tcp = "h:2" }]])
    local named, anonymous = mock.calls(door, "pool_new")[1][2], mock.calls(door, "pool_new")[2][2]
    assert.equal("", anonymous.name)
    anonymous.name = "p"
    assert.same(named, anonymous)
    assert.same({ 3, 1000 }, { named.eject_after, named.eject_ms })
  end)

  it("are built with the bytes they begin with, and with who speaks first", function()
    local door = built([[
      rx.protocol "g" { is_server_first = true, first = { "G", "\0-\31" }, identify = function() return true end,
        samples = { yes = { "G", "\31" } } }
      rx.listen "a:1" { fallback_tcp = rx.drop }]])
    assert.is_true(spec_of(door, "proto_new").is_server_first)
    local first = mock.calls(door, "proto_first")
    assert.same({ 71, 71, 0, 31 }, { first[1][3], first[1][4], first[2][3], first[2][4] })
  end)
end)

describe("rx.test", function()
  it("is built with all it has", function()
    local door = built([[local web = rx.pool "web" { "h:1" }
      rx.listen "a:1" { fallback_tcp = web }
      rx.test "one" { send = { "ab", "c" }, from = "10.0.0.1:5", listener = "a:1", silent = true, eof = true,
        expect = { to = web, protocol = rx.https, route = "r", reason = "no_route", more = true } }
      rx.test "two" { transport = "udp", send = "x", expect = { to = rx.respond, protocol = "https" } }
      rx.test "three" { send = "x", expect = { to = rx.respond "x" } }
      rx.test "four" { send = "x", expect = { to = "h:1" } }]])
    assert.same({
      name = "one", where = "refractium.lua:3", from = "10.0.0.1:5", at = "", listener = "a:1", transport = 1,
      is_silent = true, is_eof = true, protocol = "tls", to = "web", route = "r", reason = "no_route",
      expect_more = true,
    }, spec_of(door, "test_new"))
    local two = spec_of(door, "test_new", 2)
    assert.same({ 2, "describe", "tls", false }, { two.transport, two.to, two.protocol, two.expect_more })
    assert.equal("respond", spec_of(door, "test_new", 3).to)
    assert.equal("h:1", spec_of(door, "test_new", 4).to)
    assert.equal("c", mock.calls(door, "test_send")[2][3])
  end)
end)

describe("what a builder refuses", function()
  it("is an error at its line", function()
    local cases = {
      pool_backend = 'refractium.lua:2: pool "p": cannot resolve h',
      listen_bind = 'refractium.lua:3: listen "a:1": cannot resolve h',
      route_cond = 'refractium.lua:4: listen "a:1".routes[1].sni: cannot resolve h',
      test_new = 'refractium.lua:5: test "t": cannot resolve h',
    }
    for builder, words in pairs(cases) do
      local _, errors, _, n = mock.config([[

rx.pool "p" { "h:1" }
rx.listen "a:1" { routes = {
  { rx.tls, sni = "x", to = rx.drop } } }
rx.test "t" { send = "x", expect = { to = "p" } }]], nil, { [builder] = "cannot resolve h" })
      assert.same({ words }, errors)
      assert.equal(1, n)
    end
  end)
end)
