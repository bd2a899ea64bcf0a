-- What functions keep: counters, gauges, shared tables and bans.
local mock = require "mock_door"

local function load_with(declared, body)
  local functions, view, errors, _, door = mock.script(declared .. " rx.listen 'a:1' { fallback_tcp = rx.drop, "
    .. "on_accept = function(conn) " .. body .. " end }")
  assert.same({}, errors)
  view.facts = { client_ip = "192.0.2.9" }
  return functions, view, door
end

-- One function that sees `c`; what it said and the state it left. The function's own results are logged.
local function run(declared, body)
  local functions, view = load_with(declared, body)
  local ok, wrong = mock.call(view, functions[1], { conn = true })
  return ok, wrong, view.state, view
end

local function fails(words, declared, body)
  local ok, wrong = run(declared, body)
  assert.is_false(ok)
  assert.equal(words, (wrong:gsub("^refractium.lua:1: ", "")))
end

local function errors_of(body)
  local _, errors, warnings = mock.config(body .. " rx.listen 'a:1' { fallback_tcp = rx.drop }")
  return errors, warnings
end

local COUNTER = "local c = rx.counter 'c_total' { help = 'h', labels = { 'route', 'how' } }"
local PLAIN = "local c = rx.counter 'c_total' {}"
local GAUGE = "local g = rx.gauge 'g' { labels = 'one' }"
local SHARED = "local t = rx.shared 't' { max_entries = 10, ttl = '2s' }"

describe("counters and gauges", function()
  it("are told to the program in the order of declaration, and count by their number", function()
    local functions, view, door = load_with(PLAIN .. " local d = rx.counter 'd_total' { labels = { 'x' } } " .. GAUGE,
      "c:inc() c:add(2.5) d:inc('y') g:set(4, 'z') g:dec('z') g:add(-2, 'z') g:inc('z')")
    assert.same({
      { "metric_new", { name = "c_total", help = "", labels = "", is_gauge = false } },
      { "metric_new", { name = "d_total", help = "", labels = "x", is_gauge = false } },
      { "metric_new", { name = "g", help = "", labels = "one", is_gauge = true } },
    }, mock.calls(door, "metric_new"))
    assert.is_true(mock.call(view, functions[1], { conn = true }))
    assert.same({ ["0:"] = 3.5, ["1:y"] = 1, ["2:z"] = 2 }, view.state.counted)
  end)

  it("have the same numbers in every worker", function()
    local _, _, _, _, first = mock.script(COUNTER .. GAUGE .. " rx.listen 'a:1' { fallback_tcp = rx.drop }")
    assert.equal(2, #mock.calls(first, "metric_new"))
    local functions, view = mock.script(COUNTER .. GAUGE .. " rx.listen 'a:1' { fallback_tcp = rx.drop,"
      .. " on_accept = function() g:set(1, 'x') end }", true)
    assert.is_true(mock.call(view, functions[1], { conn = true }))
    assert.same({ ["1:x"] = 1 }, view.state.counted)
  end)

  it("take strings, numbers, booleans and nothing as label values", function()
    local ok, wrong, state = run(COUNTER, "c:inc('a', 1) c:inc(true, nil) c:inc(nil, 'b') c:inc()")
    assert.is_true(ok, wrong)
    assert.same({ ["0:a,1"] = 1, ["0:true,"] = 1, ["0:,b"] = 1, ["0:,"] = 1 }, state.counted)
  end)

  it("say what is wrong with a use", function()
    fails('rx.counter "c_total": has 2 labels', COUNTER, "c:inc('a', 'b', 'c')")
    fails('rx.counter "c_total": has no labels', PLAIN, "c:inc('a')")
    fails('rx.gauge "g": has 1 label', GAUGE, "g:set(1, 'a', 'b')")
    fails('rx.counter "c_total": a label value must be a string, not a table', COUNTER, "c:inc({}, 'x')")
    fails('rx.counter "c_total": a counter only grows: add of -1', PLAIN, "c:add(-1)")
    fails('rx.counter "c_total": add needs a number, not a string', PLAIN, "c:add('1')")
    fails('rx.counter "c_total": add needs a finite number', PLAIN, "c:add(0/0)")
    fails('rx.gauge "g": set needs a number, not a nil', GAUGE, "g:set()")
    fails('rx.counter "c_total" has no set', PLAIN, "c:set(1)")
    fails('rx.gauge "g" has no incr (did you mean "inc"?)', GAUGE, "g:incr(1)")
  end)

  it("leave nothing behind of a use that failed", function()
    local ok, _, state = run(COUNTER, "pcall(function() c:inc('a', {}) end) c:inc('x', 'y')")
    assert.is_true(ok)
    assert.same({ ["0:x,y"] = 1 }, state.counted)
  end)

  it("cannot be used while the config loads", function()
    assert.matches("can only be used in functions", errors_of(PLAIN .. " c:inc()")[1])
  end)

  it("must be named as Prometheus wants", function()
    local function wrong(body)
      return errors_of(body)[1]
    end
    assert.matches("Prometheus takes no such name", wrong "rx.counter 'a-b' {}")
    assert.matches("Prometheus takes no such name", wrong "rx.counter '1a' {}")
    assert.matches("the program's own", wrong "rx.counter 'refractium_x_total' {}")
    assert.matches("cannot be a label", wrong "rx.counter 'a_total' { labels = { 'a b' } }")
    assert.matches("cannot be a label", wrong "rx.counter 'a_total' { labels = { '__a' } }")
    assert.matches("Prometheus uses it", wrong "rx.gauge 'a' { labels = { 'le' } }")
    assert.matches("is there twice", wrong "rx.gauge 'a' { labels = { 'x', 'x' } }")
    assert.matches("at most 4 labels, not 5", wrong "rx.gauge 'a' { labels = { 'a', 'b', 'c', 'd', 'e' } }")
    assert.matches("must be a list of names", wrong "rx.gauge 'a' { labels = 3 }")
    assert.matches('did you mean "labels"', wrong "rx.gauge 'a' { label = { 'x' } }")
    assert.matches("is not followed by", wrong "rx.counter 'a_total'")
    local _, warnings = errors_of "rx.counter 'knocks' {}"
    assert.matches('ends in _total: "knocks_total"', warnings[1])
  end)
end)

describe("the store", function()
  local function first(text)
    return errors_of(text)[1]
  end
  local one, other = "store = 'redis://a'", "store = 'redis://b'"

  it("is a URL, and what is wrong is said without it", function()
    assert.is_nil(first("rx.server { " .. one .. " }"))
    local wrong = first "rx.server { store = 'http://me:secret@a' }"
    assert.matches("server.store: must be a URL", wrong)
    assert.is_nil(wrong:find "secret")
    assert.matches('must be "redis://.*", not table', first "rx.server { store = {} }")
    assert.matches("not boolean", first "rx.server { store = false }")
  end)

  it("is one, of the server or of sessions", function()
    assert.is_nil(first("rx.sessions 's' { " .. one .. " }"))
    local server, s = "rx.server { " .. one .. " } ", "rx.sessions 's' { %s } "
    assert.is_nil(first(server .. s:format(one) .. "rx.sessions 't' { store = false }"))
    assert.matches('sessions "s".store: is another one', first(server .. s:format(other)))
    assert.matches('sessions "t".store: is another one',
      first("rx.sessions 's' { " .. one .. " } rx.sessions 't' { " .. other .. " }"))
  end)
end)

describe("the port for monitoring", function()
  local function server(options)
    local errors, warnings = errors_of("rx.server { " .. options .. " }")
    return errors[1], warnings[1]
  end

  it("is one TCP address", function()
    assert.is_nil(server "metrics = '127.0.0.1:9180'")
    assert.is_nil(server "metrics = '[::1]:9180', metrics_token = 'x'")
    assert.matches("must be one TCP address", (server "metrics = '*:9180'"))
    assert.matches("must be one TCP address", (server "metrics = 'unix:/x'"))
    assert.matches("must be one TCP address", (server "metrics = '127.0.0.1:9180-9190'"))
    assert.matches("does not parse", (server "metrics = 'nonsense'"))
    assert.matches("must be a string", (server "metrics = 9180"))
    assert.matches("visible ASCII", (server "metrics_token = 'a b'"))
  end)

  it("is asked under host names", function()
    assert.is_nil(server "metrics_host = 'proxy.lan'")
    assert.is_nil(server "metrics_host = { 'Proxy.lan', 'b-1_x' }")
    assert.matches("must be a host name without a port", (server "metrics_host = 'proxy.lan:80'"))
    assert.matches("must be a host name without a port", (server "metrics_host = { 'a', '*.lan' }"))
    assert.matches("must be a host name without a port", (server "metrics_host = 'a,b'"))
    assert.matches("empty list", (server "metrics_host = {}"))
    assert.matches("must be a string", (server "metrics_host = 5"))
  end)

  it("is warned about where others can read it", function()
    local _, warning = server "metrics = '0.0.0.0:9180'"
    assert.matches("whoever can reach 0.0.0.0:9180 may read them", warning)
    _, warning = server "metrics = '0.0.0.0:9180', metrics_token = 'x'"
    assert.is_nil(warning)
  end)
end)

describe("a shared table", function()
  it("gives back what was set", function()
    local ok, wrong, state, view = run(SHARED, "t:set('a', 'x\\0y') t:set(7, 1.5) t:set('c', true) t:set('d', false)"
      .. " rx.log.info(#t:get('a') .. ' ' .. t:get('7') .. ' ' .. tostring(t:get 'c') .. ' ' .. tostring(t:get 'd')"
      .. " .. ' ' .. tostring(t:get 'e'))")
    assert.is_true(ok, wrong)
    assert.equal("3 1.5 true false nil", view.logged[1][2])
    assert.same({ 1, 0, "x\0y", 0 }, state.tables[0].a)
  end)

  it("counts, adds and deletes", function()
    local ok, wrong, _, view = run(SHARED, "rx.log.info(t:incr 'n' .. ' ' .. t:incr('n', 4) .. ' ' .. t:incr('n', -6)"
      .. " .. ' ' .. tostring(t:add('k', 1)) .. ' ' .. tostring(t:add('k', 2)) .. ' ' .. t:get 'k'"
      .. " .. ' ' .. tostring(t:delete 'k') .. ' ' .. tostring(t:delete 'k'))")
    assert.is_true(ok, wrong)
    assert.equal("1 5 -1 true false 1 true false", view.logged[1][2])
  end)

  it("is told its limits, and times of entries in milliseconds", function()
    local functions, view, door = load_with(SHARED .. " rx.shared 'u' {}", "t:set('a', 1, '3s') t:add('b', 1, 0.5)"
      .. " t:incr('c', 1, '1m')")
    assert.same({
      { "shared_new", { name = "t", max_entries = 10, ttl_ms = 2000 } },
      { "shared_new", { name = "u", max_entries = 10000, ttl_ms = 0 } },
    }, mock.calls(door, "shared_new"))
    assert.is_true(mock.call(view, functions[1], { conn = true }))
    local entries = view.state.tables[0]
    assert.same({ 3000, 500, 60000 }, { entries.a[4], entries.b[4], entries.c[4] })
  end)

  it("says what is wrong with a use", function()
    fails('rx.shared "t": a key must be a string or a number, not nil', SHARED, "t:get()")
    fails('rx.shared "t": a key must be a string or a number, not a table', SHARED, "t:set({}, 1)")
    fails('rx.shared "t": a key has at most 255 bytes, not 256', SHARED, "t:get(('k'):rep(256))")
    fails('rx.shared "t": a string has at most 4096 bytes, not 4097', SHARED, "t:set('k', ('v'):rep(4097))")
    fails('rx.shared "t": a value must be a string, a number or a boolean, not nil (t:delete(key) removes one)', SHARED,
      "t:set('k')")
    fails('rx.shared "t": ttl must be a duration like "3s", not "soon"', SHARED, "t:set('k', 1, 'soon')")
    fails('rx.shared "t": ttl must be more than 0 and at most ten years', SHARED, "t:set('k', 1, -1)")
    fails('rx.shared "t": ttl must be more than 0 and at most ten years', SHARED, "t:set('k', 1, 0/0)")
    fails('rx.shared "t": incr needs a number, not x', SHARED, "t:incr('k', 'x')")
    fails('rx.shared "t": what is at this key is no number', SHARED, "t:set('k', 'x') t:incr('k')")
    fails('rx.shared "t" has no delet (did you mean "delete"?)', SHARED, "t:delet('k')")
  end)

  it("cannot be used while the config loads, nor have odd limits", function()
    assert.matches("can only be used in functions", errors_of(SHARED .. " t:get 'a'")[1])
    assert.matches("max_entries: must be between 1 and 10000000, not 0",
        errors_of("rx.shared 't' { max_entries = 0 }")[1])
    assert.matches('has no unit', errors_of("rx.shared 't' { ttl = 3 }")[1])
  end)
end)

describe("a ban", function()
  it("is of an address or a block, for a time", function()
    local ok, wrong, state, view = run("", "rx.log.info(tostring(rx.ban(conn.client.ip, '10m')) .. ' '"
      .. " .. tostring(rx.ban('10.0.0.0/8', 1.5)) .. ' ' .. tostring(rx.unban('10.0.0.0/8'))"
      .. " .. ' ' .. tostring(rx.unban('10.0.0.0/8')))")
    assert.is_true(ok, wrong)
    assert.equal("true true true false", view.logged[1][2])
    assert.same({ ["192.0.2.9"] = 600000 }, state.bans)
  end)

  it("leaves the unnamed clients of a unix socket alone", function()
    local ok, _, state = run("", "rx.ban('unix', '1m') rx.unban('unix')")
    assert.is_true(ok)
    assert.same({}, state.bans)
  end)

  it("says what is wrong with it", function()
    fails('rx.ban: "x" is no address or block', "", "rx.ban('x', '1m')")
    fails('rx.ban: needs an address or a block, as in conn.client.ip or "10.0.0.0/8", not nil', "", "rx.ban(nil, '1m')")
    fails('rx.ban: needs how long, as in rx.ban(conn.client.ip, "10m")', "", "rx.ban('192.0.2.1')")
    fails('rx.ban: the time must be a duration like "3s", not "x"', "", "rx.ban('192.0.2.1', 'x')")
    fails("rx.ban: the time must be more than 0 and at most ten years", "", "rx.ban('192.0.2.1', 0)")
    assert.matches("rx.ban can only be used in functions", errors_of("rx.ban('192.0.2.1', '1m')")[1])
    assert.matches("rx.unban can only be used in functions", errors_of("rx.unban('192.0.2.1')")[1])
  end)
end)
