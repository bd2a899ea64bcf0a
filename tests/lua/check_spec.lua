-- Every kind of mistake a config can hold, and the very words a user gets for it.
local mock = require "mock_door"

local function says(body, ...)
  local _, errors, _, n = mock.config(body)
  assert.same({ ... }, errors)
  assert.equal(#errors, n)
end

local function warns(body, ...)
  local _, errors, warnings, n = mock.config(body)
  assert.same({}, errors)
  assert.equal(0, n)
  assert.same({ ... }, warnings)
end

-- One route with the given inside, and what is said of it (without the place in front).
local function route_says(inside, key, words)
  local place = 'refractium.lua:1: listen "a:1".routes[1]' .. key .. ": "
  says('rx.listen "a:1" { routes = { { ' .. inside .. ' } } }', place .. words)
end

describe("an option", function()
  it("that is misspelt", function()
    says([[
rx.listen "0.0.0.0:443" {
  fallback_tcp = rx.drop,
  pek_timeout = "3s" }]],
      'refractium.lua:3: listen "0.0.0.0:443".pek_timeout: unknown key (did you mean "peek_timeout"?)')
  end)

  it("that resembles nothing", function()
    says('rx.server { quux = 1 } rx.listen "a:1" { fallback_tcp = rx.drop }',
      "refractium.lua:1: server.quux: unknown key")
  end)

  it("of a later version", function()
    says('rx.server { trusted_scripts = true } rx.listen "a:1" { fallback_tcp = rx.drop, sessions = {} }',
      "refractium.lua:1: server.trusted_scripts: trusted_scripts is not available in this version",
      'refractium.lua:1: listen "a:1".sessions: sessions is not available in this version')
  end)

  it("of rates", function()
    local listener = 'rx.listen "a:1" { fallback_tcp = rx.drop, %s }'
    for _, case in ipairs {
      { "rate_per_ip = 5", 'rate_per_ip: must be a rate like "50/s", not 5' },
      { "rate_per_ip = '5'", 'rate_per_ip: "5" has no unit (write "5/s")' },
      { "rate_per_ip = '5/d'", 'rate_per_ip: must be a rate like "50/s", not "5/d" (units: /s, /m, /h)' },
      { "rate_per_ip = '0/s'", 'rate_per_ip: must be between 1 and 1000000, not "0/s"' },
      { "rate_per_ip = {}", 'rate_per_ip: must be a rate like "50/s", not nil' },
      { "connection_rate = { '5/s', burst = 0 }",
        "connection_rate.burst: must be a whole number from 1 to 1000000, not 0" },
      { "connection_rate = { '5/s', bursts = 2 }",
        'connection_rate.bursts: unexpected key in a rate { "50/s", burst = 100 }' },
      { "connection_rate = { '5/h', burst = 6 }", "connection_rate.burst: 6 is more than an hour of 5/h" },
      { "over_limit = rx.echo", "over_limit: must be rx.refuse, rx.drop or rx.tarpit, not rx.echo" },
      { "over_limit = 'drop'", 'over_limit: must be rx.refuse, rx.drop or rx.tarpit, not "drop"' },
    } do
      says(string.format(listener, case[1]), 'refractium.lua:1: listen "a:1".' .. case[2])
    end
  end)

  it("without a name", function()
    says('rx.server { 3 } rx.listen "a:1" { fallback_tcp = rx.drop, [true] = 1 }',
      "refractium.lua:1: server[1]: unexpected entry without a name",
      'refractium.lua:1: listen "a:1"[a boolean]: unexpected entry without a name')
  end)

  local cases = {
    { 'workers = "four"', 'workers: must be "auto" or a whole number, not "four"' },
    { "workers = 0", "workers: must be between 1 and 1024, not 0" },
    { "workers = 1.5", 'workers: must be "auto" or a whole number, not 1.5' },
    { "max_connections = '10'", 'max_connections: must be a whole number, not "10"' },
    { "max_connections = 0/0", "max_connections: must be a whole number, not nan" },
    { "max_connections = 1e9", "max_connections: must be between 1 and 10000000, not 1000000000" },
    { "drain_timeout = 30", 'drain_timeout: 30 has no unit (write "30s" or "30ms")' },
    { "drain_timeout = '2d'", 'drain_timeout: must be between 0ms and 1d, not "2d"' },
    { "drain_timeout = rx.tls", 'drain_timeout: must be a duration like "3s", not a table' },
    { "access_log = 3", 'access_log: must be true, false, "journal", "syslog" or the path of a file, not 3' },
    { "log = 'jurnal'", 'log: must be "stderr", "journal", "syslog" or the path of a file with a slash, not "jurnal"'
      .. ' (did you mean "journal"?)' },
    { "record = {}", "record: is empty" },
    { "record = { sample = '1%' }", "record: file is missing" },
    { "record = { file = 'f', sample = 1 }", 'record.sample: must be a percentage like "5%", not 1' },
    { "record = { file = 'f', sample = '101%' }", 'record.sample: must be between 0.0001% and 100%, not "101%"' },
    { "record = { file = 'f', bytes = '1m' }", 'record.bytes: must be between 1b and 48k, not "1m"' },
    { "log_format = 'jsn'", 'log_format: must be one of "auto", "text", "json", not "jsn" (did you mean "json"?)' },
    { "fallback_tcp = true",
      "fallback_tcp: must be a pool, an address, a list of addresses or an action, not a boolean" },
    { "fallback_tcp = rx.tls",
      "fallback_tcp: must be a pool, an address, a list of addresses or an action, not rx.tls" },
    { "fallback_tcp = function() end", "fallback_tcp: only the `to` of a route may be a function" },
    { "fallback_tcp = 80", 'fallback_tcp: must be an address, not a bare port (write "127.0.0.1:80")' },
    { "fallback_tcp = 'echo'", 'fallback_tcp: no pool named "echo" (the action is written without quotes: rx.echo)' },
    { "fallback_tcp = 'host'", 'fallback_tcp: no pool named "host" (an address has a port: "host:80")' },
    { "fallback_tcp = '10.0.0.1'", 'fallback_tcp: "10.0.0.1" is no address: does not parse' },
    { "fallback_tcp = 'srv:_x._tcp.y:80'", 'fallback_tcp: "srv:_x._tcp.y:80" is no address: does not parse' },
    { "resolver = 'dns.test'",
      'resolver: "dns.test" is no address (write "192.0.2.1" or "192.0.2.1:4000")' },
    { "resolver = {}", "resolver: is an empty list; give an address, or leave it out" },
    { "fallback_tcp = {}", "fallback_tcp: is an empty list of addresses" },
    { "fallback_tcp = { rx.drop }", 'fallback_tcp[1]: must be an address like "10.0.0.1:80", not rx.drop' },
    { "fallback_tcp = { 'a:1', weight = 2 }",
      'fallback_tcp.weight: stands beside the address: write { { "...", weight = ... } }' },
    { "fallback_tcp = { 'a:1', balance = 'x' }", "fallback_tcp.balance: needs an rx.pool of its own" },
    { "fallback_tcp = { { weight = 2 } }",
      'fallback_tcp[1]: must begin with an address, as in { "10.0.0.2:80", weight = 2 }, not nothing' },
    { "fallback_tcp = { { 'a:1', 'b:1' } }", "fallback_tcp[1]: holds more than one address" },
    { "fallback_tcp = { { 'a:1', weight = 0 } }", "fallback_tcp[1].weight: must be between 1 and 256, not 0" },
    { "fallback_tcp = { { 'a:1', wait = 0 } }", "fallback_tcp[1].wait: unknown key" },
  }
  for _, case in ipairs(cases) do
    it("that is wrong: " .. case[1], function()
      says("rx.server { " .. case[1] .. " } rx.listen 'a:1' { routes = { { rx.any, to = rx.drop } } }",
        "refractium.lua:1: server." .. case[2])
    end)
  end

  it("of a listener that is out of range", function()
    says([[rx.listen "a:1" { fallback_tcp = rx.drop, peek_buffer_size = "63b", peek_timeout = "5ms",
      ipv6_prefix = 129, max_pending = 0 }]],
      'refractium.lua:1: listen "a:1".peek_timeout: must be between 10ms and 10m, not "5ms"',
      'refractium.lua:1: listen "a:1".peek_buffer_size: must be between 64b and 1m, not "63b"',
      'refractium.lua:2: listen "a:1".ipv6_prefix: must be between 1 and 128, not 129',
      'refractium.lua:2: listen "a:1".max_pending: must be between 1 and 10000000, not 0')
  end)
end)

describe("a call", function()
  it("without its options", function()
    says('rx.listen "a:1" { fallback_tcp = rx.drop }\nrx.pool "x"\nrx.test "t"',
      'refractium.lua:2: rx.pool "x" is not followed by { ... }',
      'refractium.lua:3: rx.test "t" is not followed by { ... }')
  end)

  it("without its name", function()
    says('rx.listen "a:1" { fallback_tcp = rx.drop }\nrx.pool { "a:1" }\nrx.listen {} {}\nrx.test ""',
      'refractium.lua:2: rx.pool: needs a name first: rx.pool "web" { ... }',
      'refractium.lua:3: rx.listen: needs an address first: rx.listen "0.0.0.0:8080" { ... }',
      "refractium.lua:4: rx.test: the name is empty")
  end)

  it("with something else than options", function()
    says('rx.server(3) rx.listen "a:1" { fallback_tcp = rx.drop }\nrx.pool "x" "y" rx.pool("z", {})',
      "refractium.lua:1: rx.server: options must be a table: rx.server { ... }",
      'refractium.lua:2: rx.pool "x": options must be a table { ... }, not a string',
      'refractium.lua:2: rx.pool: give the options in a call of their own: rx.pool "z" { ... }' )
  end)

  it("of an unknown verb", function()
    says('rx.lisen "a:1" { fallback_tcp = rx.drop }\nrx.listen "a:1" { fallback_tcp = rx.drop }',
      'refractium.lua:1: refractium has no rx.lisen (did you mean "listen"?)')
  end)

  it("of a verb of a later version", function()
    says('rx.policy "x" { }\nrx.listen "a:1" { fallback_tcp = rx.drop }',
      "refractium.lua:1: rx.policy is not available in this version")
  end)

  it("of a protocol", function()
    says('rx.listen "a:1" { routes = { { rx.tls { sni = "x" }, to = rx.drop } } }',
      "refractium.lua:1: rx.tls is a value: write { rx.tls, to = ... }")
  end)

  it("of rx.respond with no text", function()
    says('rx.listen "a:1" { fallback_tcp = rx.respond(3) }',
      'refractium.lua:1: rx.respond: needs a string, as in rx.respond "hello\\n", not a number')
  end)

  it("that comes twice", function()
    says('rx.server {}\nrx.server {}\nrx.listen "a:1" { fallback_tcp = rx.drop }',
      "refractium.lua:2: server: declared twice (first on line 1)")
  end)
end)

describe("a listener", function()
  it("must exist", function()
    says("rx.server {}", "refractium.lua: nothing to listen on (there is no rx.listen)")
  end)

  it("must have an address that parses", function()
    says('rx.listen { "a:1", "nonsense" } { fallback_tcp = rx.drop }',
      'refractium.lua:1: listen "a:1": "nonsense" is no address: does not parse')
  end)

  it("must not share an address", function()
    says('rx.listen "a:1" { fallback_tcp = rx.drop }\nrx.listen { "b:1", "a:1" } { fallback_tcp = rx.drop }',
      'refractium.lua:2: listen "b:1": "a:1" is listened on twice (first on line 1)')
  end)

  it("must lead somewhere", function()
    says('rx.listen "a:1" { routes = {} }',
      'refractium.lua:1: listen "a:1": no routes and no fallback: every connection would be dropped')
    warns('rx.server { fallback_tcp = rx.drop } rx.listen "a:1" {}')
  end)

  it("must have a list of routes", function()
    says('rx.listen "a:1" { routes = rx.tls }',
      'refractium.lua:1: listen "a:1".routes: must be a list of routes { { rx.tls, to = ... }, ... }, not rx.tls')
    says('rx.listen "a:1" { routes = { rx.tls, to = rx.drop } }',
      'refractium.lua:1: listen "a:1".routes.to: unexpected key in the list of routes'
        .. " (a route is a table: { rx.tls, to = ... })",
      'refractium.lua:1: listen "a:1".routes: must be a list of routes: { { rx.tls, to = ... } }')
    says('rx.listen "a:1" { routes = { "x" } }',
      'refractium.lua:1: listen "a:1".routes[1]: must be a route { rx.tls, to = ... }, not "x"')
  end)
end)

describe("a route", function()
  it("names its protocol by value", function()
    route_says('"tls", to = rx.drop', "[1]", 'write the value rx.tls, not the string "tls"')
    route_says('"tsl", to = rx.drop', "[1]", 'no protocol named "tsl" (did you mean rx.tls?)')
    route_says("3, to = rx.drop", "[1]", "must be a protocol value like rx.tls, not 3")
    route_says("to = rx.drop", "", "begins with no protocol: { rx.tls, to = ... }")
    route_says("rx.drop, to = rx.drop", "[1]", "must be a protocol value like rx.tls, not rx.drop")
    route_says("rx.tls, rx.ssh, to = rx.drop", "[2]",
      "one protocol for each route; a condition needs its name, as in sni = ...")
    says('rx.protocol "g" { prefix = "x" } rx.listen "a:1" { routes = { { "g", to = rx.drop } } }',
      'refractium.lua:1: listen "a:1".routes[1][1]: write the value that rx.protocol "g" { ... } returned,'
        .. " not its name")
  end)

  it("leads somewhere", function()
    route_says("rx.tls", "", "to is missing")
    route_says("rx.tls, ot = rx.drop", ".ot", 'unknown key (did you mean "to"?)')
    says('local web = rx.pool "web" { "h:1" }\nrx.listen "a:1" { routes = {\n{ rx.tls, sni = "x",\nto = "wbe" } } }',
      'refractium.lua:4: listen "a:1".routes[1].to: no pool named "wbe" (did you mean "web"?)')
  end)

  it("may name a pool", function()
    warns('rx.listen "a:1" { routes = { { rx.tls, to = "web" } } } rx.pool "web" { "h:1" }')
  end)

  it("has a fallback only when it can need one", function()
    route_says('rx.tls, to = rx.drop, fallback = "h:1"', ".fallback",
      "only a route to a pool or an address can run out of backends")
  end)

  local misfits = {
    { "rx.http", "sni = 'x'", "sni", 'rx.http has no sni (did you mean "host"?)' },
    { "rx.tls", "host = 'x'", "host", 'rx.tls has no host (did you mean "sni"?)' },
    { "rx.dns", "host = 'x'", "host", 'rx.dns has no host (did you mean "qname"?)' },
    { "rx.ssh", "alpn = 'x'", "alpn", "rx.ssh has no alpn (only rx.tls, rx.quic, rx.dtls)" },
    { "rx.tls", "software = 'x'", "software", "rx.tls has no software (only rx.ssh, rx.sftp)" },
    { "rx.any", "ech = true", "ech", "rx.any has no ech (only rx.tls, rx.quic, rx.dtls)" },
    { "rx.tls", "key = 'x'", "key", "rx.tls has no key; only protocols of your own do" },
    { "rx.https", "qtype = 1", "qtype", "rx.tls has no qtype (only rx.dns)" },
    { "rx.protocol 'g' { prefix = 'x' }", "sni = 'x'", "sni",
      "a protocol of your own has no sni (only key, from, not_from, to_port, during and when)" },
  }
  for _, case in ipairs(misfits) do
    it("asks only what its protocol knows: " .. case[1] .. ", " .. case[2], function()
      route_says(case[1] .. ", to = rx.drop, " .. case[2], "." .. case[3], case[4])
    end)
  end

  local wrong = {
    { "rx.tls", "sni = ''", ".sni", 'must be a string like "*.example.com", not ""' },
    { "rx.tls", "sni = 3", ".sni", 'must be a string like "*.example.com", not 3' },
    { "rx.tls", "sni = {}", ".sni", "is an empty list; give a value, or leave it out" },
    { "rx.tls", "sni = { 'x', y = 1 }", ".sni.y", "unexpected key in a list" },
    { "rx.tls", "sni = { 'x', { 'y' } }", ".sni[2]", "must be a single value, not a table" },
    { "rx.tls", "sni = 'a.*.b'", ".sni",
      '"a.*.b" has a "*" that is not the first label (write "*.example.com", or a "~regex")' },
    { "rx.tls", "sni = '*'", ".sni", '"*" matches everything: leave the condition out' },
    { "rx.tls", "sni = 'a b'", ".sni", '"a b" is no host name' },
    { "rx.tls", "sni = '~('", ".sni", 'bad regex "~(": missing )' },
    { "rx.http", "host = 'a.test:80'", ".host",
      '"a.test:80" has a port; names are compared without (see to_port)' },
    { "rx.http", "path = 'api'", ".path", '"api" does not begin with "/"' },
    { "rx.http", "path = '~('", ".path", 'bad regex "~(": missing )' },
    { "rx.ssh", "software = '~('", ".software", 'bad regex "~(": missing )' },
    { "rx.ssh", "from = 'ten'", ".from", '"ten" is no address or block: does not parse' },
    { "rx.ssh", "not_from = { '10.0.0.0/8', 'ten' }", ".not_from[2]",
      '"ten" is no address or block: does not parse' },
    { "rx.ssh", "to_port = 0", ".to_port", 'must be a port from 1 to 65535 or a range like "8000-8099", not 0' },
    { "rx.ssh", "to_port = '80-'", ".to_port",
      'must be a port from 1 to 65535 or a range like "8000-8099", not "80-"' },
    { "rx.ssh", "to_port = '90-80'", ".to_port",
      'must be a port from 1 to 65535 or a range like "8000-8099", not "90-80"' },
    { "rx.dns", "qtype = 65536", ".qtype",
      'must be a type like "AAAA" or "TYPE65", or a number from 0 to 65535, not 65536' },
    { "rx.tls", "ech = 'yes'", ".ech", 'must be true or false, not "yes"' },
    { "rx.tls", "name = 'a\\nb'", ".name", "must be at most 128 characters without control characters" },
    { "rx.tls", "priority = 1", ".priority", 'must be one of "both", "latency", "throughput", not 1' },
    { "rx.tls", "transport = 'udp'", ".transport", "rx.tls is spoken over tcp only" },
    { "rx.protocol 'x' { transport = 'tcp', prefix = 'x' }", "transport = 'udp'", ".transport",
      'rx.protocol "x" is spoken over tcp only' },
    { "rx.dns", "transport = 'both'", ".transport", 'must be one of "tcp", "udp", not "both"' },
    { "rx.tls", "when = true", ".when", "must be a function, not a boolean" },
    { "rx.tls", "send_proxy = 'v3'", ".send_proxy",
      'must be "v1", "v2" or a table like { version = "v2", unique_id = true }, not "v3"' },
    { "rx.tls", "send_proxy = { version = 'v1', crc32c = true }", ".send_proxy",
        'version "v1" has no room for crc32c' },
  }
  for _, case in ipairs(wrong) do
    it("has conditions and options that make sense: " .. case[2], function()
      route_says(case[1] .. ", to = rx.drop, " .. case[2], case[3], case[4])
    end)
  end

  it("is warned of when it cannot be reached", function()
    warns('rx.listen "a:1" { routes = { { rx.tls, to = rx.drop },\n{ rx.tls, sni = "x", to = rx.echo } } }',
      'refractium.lua:2: listen "a:1".routes[2]: is never reached: routes[1] takes all of rx.tls')
    warns('rx.listen "a:1" { routes = { { rx.tls, sni = "x", to = rx.drop },\n{ rx.tls, to = rx.echo } } }')
    warns('rx.listen "a:1" { routes = { { rx.dns, to = rx.drop },\n{ rx.dns, transport = "udp", to = rx.echo } } }',
      'refractium.lua:2: listen "a:1".routes[2]: is never reached: routes[1] takes all of rx.dns')
    warns('rx.listen "a:1" { routes = { { rx.dns, transport = "tcp", to = rx.drop },\n{ rx.dns, to = rx.echo } } }')
    warns('rx.listen "a:1" { routes = { { rx.dns, transport = "tcp", to = rx.drop },\n'
      .. '{ rx.dns, transport = "udp", to = rx.echo } } }')
  end)

  it("on rx.web has the conditions of both", function()
    route_says("rx.web, host = 'x', to = rx.drop", ".host",
      'rx.tls has no host (did you mean "sni"?)')
    says('rx.listen "a:1" { routes = { rx.web, to = rx.drop } }',
      'refractium.lua:1: listen "a:1".routes.to: unexpected key in the list of routes (a route is a table: '
        .. "{ rx.tls, to = ... })", 'refractium.lua:1: listen "a:1".routes: must be a list of routes: '
        .. "{ { rx.tls, to = ... } }")
    says('rx.web "x" rx.listen "a:1" { fallback_tcp = rx.drop }',
      "refractium.lua:1: rx.web is a value: write { rx.web, sni = ..., to = ... }")
  end)

  it("on rx.web is warned of for the part that cannot be reached", function()
    warns('rx.listen "a:1" { routes = { { rx.tls, to = rx.drop },\n{ rx.web, to = rx.echo } } }',
      'refractium.lua:2: listen "a:1".routes[2]: is never reached for rx.tls: routes[1] takes all of rx.tls')
    warns('rx.listen "a:1" { routes = { { rx.web, to = rx.drop },\n{ rx.quic, to = rx.echo } } }',
      'refractium.lua:2: listen "a:1".routes[2]: is never reached: routes[1] takes all of rx.quic')
  end)
end)

describe("a protocol", function()
  local function protocol_says(inside, place, words)
    says('rx.protocol "g" { ' .. inside .. ' } rx.listen "a:1" { fallback_tcp = rx.drop }',
      'refractium.lua:1: protocol "g"' .. place .. ": " .. words)
  end

  it("says how it is recognised", function()
    protocol_says("", "", "nothing says how to recognise it: give prefix, patterns or identify")
    protocol_says("identify = 'x'", ".identify", 'must be a function, not "x"')
    protocol_says("prefix = ''", ".prefix", "is an empty string")
    protocol_says("prefix = { 'x', 3 }", ".prefix[2]", 'must be a string of bytes like "\\x01\\x02", not 3')
    protocol_says("prefix = 'x', within = '1k'", ".within", "is about patterns, and there are none")
    protocol_says("prefix = 'x', transport = 'upd'", ".transport",
      'must be one of "tcp", "udp", "both", not "upd" (did you mean "udp"?)')
    protocol_says("prefix = 'x', samples = { maybe = 'x' }", ".samples.maybe", "unknown key")
    protocol_says("prefix = 'x', samples = 'x'", ".samples", 'must be a table, not "x"')
  end)

  it("says which bytes its function is asked about", function()
    local fn = "identify = function() return true end, "
    protocol_says("prefix = 'x', first = 'x'", ".first", "is about identify, and there is none")
    protocol_says(fn .. "prefix = 'x', first = 'x'", ".first", "is what prefix says already; leave one of them out")
    protocol_says(fn .. "first = 'GH'", ".first",
      'is neither one byte nor a range: write { "G", "H" } or "\\x00-\\x1f"')
    protocol_says(fn .. "first = { 'a', 7 }", ".first[2]",
      'must be a byte like "G" or a range like "\\x00-\\x1f", not 7')
    protocol_says(fn .. "first = 'z-a'", ".first", "is a range that runs backwards")
    protocol_says(fn .. "first = { 'a', 'c-e' }, samples = { yes = { 'dx', 'bx' } }", ".first",
      "leaves out byte 0x62, with which samples.yes[2] begins")
  end)

  it("has a name of its own", function()
    local rest = ' rx.listen "a:1" { fallback_tcp = rx.drop }'
    says('rx.protocol "tls" { prefix = "x" }' .. rest,
      'refractium.lua:1: protocol "tls": is the name of a built-in one')
    says('rx.protocol "any" { prefix = "x" }' .. rest,
      'refractium.lua:1: protocol "any": is the name of a built-in one')
    says('rx.protocol "g" { prefix = "x" }\nrx.protocol "g" { prefix = "y" }' .. rest,
      'refractium.lua:2: protocol "g": declared twice (first on line 1)')
    says('rx.protocol "a b" { prefix = "x" }' .. rest, 'refractium.lua:1: protocol "a b": a name has at most 63 '
      .. "letters, digits, _, - and ., and begins with a letter or digit")
  end)
end)

describe("a pool", function()
  local function pool_says(inside, place, words)
    says('rx.pool "p" { ' .. inside .. ' } rx.listen "a:1" { fallback_tcp = rx.drop }',
      'refractium.lua:1: pool "p"' .. place .. ": " .. words)
  end

  it("holds backends", function()
    pool_says("", "", 'has no targets: rx.pool "name" { "10.0.0.1:80", ... }')
    pool_says('"h"', "[1]", '"h" is no address: does not parse')
    pool_says('"h:1", { "h:2", backup = 1 }', "[2].backup", "must be true or false, not 1")
    pool_says('"h:1", balance = "leastconn"', ".balance", 'must be one of "round_robin", "least_conn", "random", "p2c",'
      .. ' "source_ip", "source_socket", "maglev", "first", not "leastconn" (did you mean "least_conn"?)')
    pool_says('"h:1", ttl = { min = "1m", max = "1s" }', ".ttl", "min is more than max")
    pool_says('"h:1", source = "10.0.0"', ".source",
      '"10.0.0" is no IP address, no range like "10.0.0.1-10.0.0.9" and no block like "10.0.0.0/28"')
    pool_says('"h:1", slow_start = 30', ".slow_start", '30 has no unit (write "30s" or "30ms")')
    pool_says('{ "h:1", max_connections = 0 }', "[1].max_connections", "must be between 1 and 10000000, not 0")
    pool_says('"h:1", health = {}', ".health", "is empty")
    pool_says('"h:1", health = true', ".health", "must be a table, not a boolean")
    pool_says('"h:1", health = { check = "htp" }', ".health.check",
      'must be one of "tcp", "tls", "http", "https", "udp", not "htp" (did you mean "http"?)')
    pool_says('"h:1", health = { evry = "1s" }', ".health.evry", 'unknown key (did you mean "every"?)')
    pool_says('"h:1", health = { path = "/x" }', ".health.path", 'is nothing for check = "tcp"')
    pool_says('"h:1", health = { check = "http", send = "x" }', ".health.send", 'is nothing for check = "http"')
    pool_says('"h:1", health = { check = "http", path = "x" }', ".health.path",
      'must be a path that begins with "/", without blanks, not "x"')
    pool_says('"h:1", health = { check = "http", host = "a b" }', ".health.host",
      'must be a name without blanks, at most 253 characters, not "a b"')
    pool_says('"h:1", health = { check = "http", status = "299-200" }', ".health.status",
      'must be a status from 100 to 599 or a range like "200-299", not "299-200"')
    pool_says('"h:1", health = { check = "http", status = { 200, 42 } }', ".health.status[2]",
      'must be a status from 100 to 599 or a range like "200-299", not 42')
    pool_says('"h:1", health = { check = "http", method = "HEAD", expect = "x" }', ".health",
      "an answer to HEAD has no body to expect something in")
    pool_says('"h:1", health = { check = "udp" }', ".health",
        'check = "udp" needs send: what is not asked does not answer')
    pool_says('"h:1", health = { send = "hex:012" }', ".health.send",
      'must have two hex digits for each byte behind "hex:", not "hex:012"')
    pool_says('"h:1", health = { expect = "~(" }', ".health.expect", 'bad regex "~(": missing )')
    pool_says('"h:1", health = { expect = { "a", "" } }', ".health.expect[2]", 'must be a string, not ""')
    pool_says('"h:1", health = { every = 2 }', ".health.every", '2 has no unit (write "2s" or "2ms")')
    pool_says('"h:1", tries = 0', ".tries", "must be between 1 and 1000, not 0")
  end)

  it("is declared once", function()
    says('rx.pool "p" { "h:1" }\nrx.pool "p" { "h:1" } rx.listen "a:1" { fallback_tcp = rx.drop }',
      'refractium.lua:2: pool "p": declared twice (first on line 1)')
  end)
end)

describe("a test", function()
  local function test_says(inside, place, words)
    says('rx.listen "a:1" { fallback_tcp = rx.drop } rx.test "t" { ' .. inside .. " }",
      'refractium.lua:1: test "t"' .. place .. ": " .. words)
  end

  it("sends and expects", function()
    test_says("send = 'x'", "", "expect is missing")
    test_says("expect = { more = true }", "", "send is missing (or silent = true, for a client that says nothing)")
    test_says("send = 3, expect = { more = true }", ".send",
      'must be a string of bytes like "GET / HTTP/1.1\\r\\n", not 3')
    test_says("send = 'x', expect = {}", ".expect", "is empty")
    test_says("send = 'x', expect = { too = 1 }", ".expect.too", 'unknown key (did you mean "to"?)')
    test_says("send = 'x', expect = { to = 'dorp' }", ".expect.to",
      'no pool or action named "dorp" (did you mean "drop"?)')
    test_says("send = 'x', expect = { to = 3 }", ".expect.to",
      "must be a pool, an address, an action or its name, not 3")
    test_says("send = 'x', expect = { protocol = 'tsl' }", ".expect.protocol",
      'no protocol named "tsl" (did you mean "tls"?)')
    test_says("send = 'x', from = 'x', expect = { more = true }", ".from",
      '"x" is no address (write "192.0.2.1" or "192.0.2.1:4000")')
    test_says("send = 'x', from = '10.0.0.0/8', expect = { more = true }", ".from",
      '"10.0.0.0/8" is no address (write "192.0.2.1" or "192.0.2.1:4000")')
    test_says("send = 'x', listener = 'a:2', expect = { more = true }", ".listener",
      'nothing listens on "a:2" (did you mean "a:1"?)')
    test_says("send = 'x', transport = 'udp', eof = true, expect = { more = true }", "",
      "silent and eof are about connections; UDP has none")
  end)

  it("takes clients in every notation", function()
    for _, from in ipairs { "192.0.2.1", "192.0.2.1:4000", "2001:db8::1", "[2001:db8::1]:4000" } do
      warns('rx.listen "a:1" { fallback_tcp = rx.drop } rx.test "t" { send = "x", from = "' .. from
        .. '", expect = { to = rx.drop } }')
    end
  end)

  it("is declared once", function()
    local test = 'rx.test "t" { send = "x", expect = { to = rx.drop } }'
    says('rx.listen "a:1" { fallback_tcp = rx.drop }\n' .. test .. "\n" .. test,
      'refractium.lua:3: test "t": declared twice (first on line 2)')
  end)
end)

describe("values that invite abuse", function()
  local function advises(inside, key, words)
    warns('rx.listen "a:1" { fallback_tcp = rx.drop,\n' .. inside .. " }",
      'refractium.lua:2: listen "a:1".' .. key .. ": " .. words)
  end

  it("are warned of", function()
    advises('peek_timeout = "6s"', "peek_timeout",
      "6s is long: a client that says nothing holds its connection for that time (more than 5s invites abuse)")
    advises("max_connections_per_ip = 201", "max_connections_per_ip", "201 is high: more than 200 invites abuse")
    advises("max_connections_per_ip = 50, max_connections = 50", "max_connections_per_ip",
      "one client may take all 50 connections of this listener")
    advises("max_connections_per_ip = 10000", "max_connections_per_ip",
      "one client may take all 10000 connections of the server")
  end)

  it("are not when they are reasonable", function()
    warns('rx.listen "a:1" { fallback_tcp = rx.drop, peek_timeout = "5s", max_connections_per_ip = 200 }')
  end)
end)

describe("all findings", function()
  it("are shown together, in the order of the lines, each once", function()
    says([[
rx.listen "a:1" {
  routes = { { rx.tls, to = nothing } },
  peek_timeout = 3,
}
rx.pool "p" { "h" }
rx.server { workers = 0 }
error "stop"
]],
      'refractium.lua:2: unknown name "nothing"',
      'refractium.lua:3: listen "a:1".peek_timeout: 3 has no unit (write "3s" or "3ms")',
      'refractium.lua:5: pool "p"[1]: "h" is no address: does not parse',
      "refractium.lua:6: server.workers: must be between 1 and 1024, not 0",
      "refractium.lua:7: stop")
  end)

  it("leave nothing built", function()
    local door = mock.config('rx.pool "p" { "h:1" } rx.listen "a:1" { fallback_tcp = 3 }')
    assert.same({}, door.calls)
  end)
end)
