-- TOML as the language has it, and what an import makes of predecessors' configs.
local import = require "refractium.import"
local schema = require "refractium.schema"
local toml = require "refractium.import.toml"

-- A tree as plain tables; numbers that are not finite, and dates, as text.
local function plain(node)
  if node.kind == "table" then
    local t = {}
    for key, child in pairs(node.map) do
      t[key] = plain(child)
    end
    return t
  elseif node.kind == "list" then
    local t = {}
    for i, child in ipairs(node.items) do
      t[i] = plain(child)
    end
    return t
  elseif type(node.value) == "number" and node.value - node.value ~= 0 then
    return node.text
  end
  return node.value
end

local function reads(text, want)
  assert.same(want, plain(toml(text)))
end

local function refuses(text, line, words)
  local ok, wrong = pcall(toml, text)
  assert.is_false(ok)
  assert.is_table(wrong, tostring(wrong))
  assert.equal(line, wrong.line)
  assert.truthy(wrong.text:find(words, 1, true), wrong.text)
end

describe("TOML", function()
  it("has keys of every kind", function()
    reads('a = 1\n"b c" = 2\n\'d"\' = 3\ne.f."g" = 4\n1234 = 5\n"" = 6\n',
      { a = 1, ["b c"] = 2, ['d"'] = 3, e = { f = { g = 4 } }, ["1234"] = 5, [""] = 6 })
  end)

  it("has strings of every kind", function()
    reads([[a = "x\t\"\\\u00e9\U0001F600"
b = 'C:\temp'
c = """
one
two\
     three """"
d = '''
it's ''''']], { a = 'x\t"\\\195\169\240\159\152\128', b = "C:\\temp", c = 'one\ntwothree "', d = "it's ''" })
  end)

  it("has numbers, booleans and dates", function()
    reads("a=1_000\nb=-0\nc=+7\nd=0xdead_beef\ne=0o17\nf=0b101\ng=1.5e-3\n" ..
        "h=-inf\ni=nan\nj=true\nk=1979-05-27 07:32:00Z",
      { a = 1000, b = 0, c = 7, d = 0xdeadbeef, e = 15, f = 5, g = 0.0015, h = "-inf", i = "nan", j = true,
        k = "1979-05-27 07:32:00Z" })
  end)

  it("has arrays over lines and tables in a line", function()
    reads("a = [ 1, # one\n  [ 'x', ],\n]\nb = { c = 1, d.e = [ { f = true } ] }\n",
      { a = { 1, { "x" } }, b = { c = 1, d = { e = { { f = true } } } } })
  end)

  it("has tables and lists of tables", function()
    reads("[a.b]\nc = 1\n[a]\nd = 2\n[[e]]\nf = 1\n[e.g]\nh = 2\n[[e]]\nf = 3\n",
      { a = { b = { c = 1 }, d = 2 }, e = { { f = 1, g = { h = 2 } }, { f = 3 } } })
  end)

  it("may begin with a byte order mark and end lines like Windows", function()
    reads("\239\187\191a = 1\r\nb = 2\r\n", { a = 1, b = 2 })
  end)

  local wrong = {
    { "a = 1\na = 2", 2, '"a" is there twice (first in line 1)' },
    { "[a]\n[a]", 2, '"a" is given already' },
    { "a = 1\n[a]", 2, '"a" is given already' },
    { "a.b = 1\n[a]", 2, '"a" is given already' },
    { "[a]\nb.c = 1\n[a.b]", 3, '"b" is given already' },
    { "a = { b = 1 }\na.c = 2", 2, '"a" is given already' },
    { "a = [ 1 ]\n[[a]]", 2, '"a" is given already' },
    { "[[a]]\n[a]", 2, '"a" is given already' },
    { "[a.b]\n[a]\nb.c = 1", 3, '"b" is given already' },
    { "a = 1 b = 2", 1, "where the line should end" },
    { "a\n= 1", 1, "where = belongs" },
    { "a = ", 1, "a value is missing before the end of the file" },
    { "= 1", 1, "a key is missing" },
    { 'a = "x\ny"', 1, 'a string without its closing "' },
    { 'a = """x', 1, "a string without its closing quotes" },
    { 'a = "\\x"', 1, "no such escape: \\x" },
    { 'a = "\\ud800"', 1, "is no character" },
    { 'a = "\1"', 1, "byte 0x01 in a string" },
    { "# \1", 1, "a control character in a comment" },
    { "a = 01", 1, '"01" is no value' },
    { "a = 1__0", 1, "is no value" },
    { "a = _1", 1, "is no value" },
    { "a = 1._5", 1, "is no value" },
    { "a = .5", 1, "is no value" },
    { "a = +0x1", 1, "is no value" },
    { "a = True", 1, '"True" is no value (a string needs quotes)' },
    { "a = [1 2]", 1, "where a comma or ] belongs" },
    { "a = {b=1,}", 1, "a key is missing" },
    { "a = {b=1\n}", 1, "where a comma or } belongs" },
    { "[a", 1, "where ] belongs" },
    { "[[a]", 1, "where ]] belongs" },
    { "a = " .. ("["):rep(100), 1, "nested too deeply" },
  }
  for _, case in ipairs(wrong) do
    it("refuses " .. case[1]:gsub("%c", " "):sub(1, 30), function()
      refuses(case[1], case[2], case[3])
    end)
  end
end)

local function read_file(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "*a"
  file:close()
  return text
end

local SHIPPED = { tinc = true, adb = true, syslog = true }

local function made(text, format)
  local config, wrong = import.run(text, { name = "test", format = format },
    { readers = {}, service = function() end, shipped = SHIPPED })
  assert.is_nil(wrong)
  return config
end

-- Runs fn while the schema has a further option, as a later version may.
local function with_option(section, row, fn)
  local s = schema[section]
  local before = s.by_name[row.name]
  s.by_name[row.name] = row
  fn()
  s.by_name[row.name] = before
end

describe("an import", function()
  it("tells the formats apart", function()
    for file, format in pairs {
      ["refractium.toml"] = "refractium", ["rpxy.toml"] = "rpxy", ["portmux.yaml"] = "portmux", ["sslh.cfg"] = "sslh",
      ["refract.service"] = "refract",
    } do
      assert.equal(format, import.guess(read_file("tests/import/" .. file)))
    end
    assert.is_nil(import.guess "hello = 1\n")
  end)

  it("says what is wrong with the input, and where", function()
    local config, wrong = import.run("[server]\nport = \n", { name = "x" }, { readers = {} })
    assert.is_nil(config)
    assert.equal("line 2: a value is missing before byte 0x0a", wrong)
    config, wrong = import.run("hello", { name = "x" }, { readers = {} })
    assert.is_nil(config)
    assert.equal("cannot tell what this is; say so with --format", wrong)
  end)

  it("loses nothing: what it does not know stands at the top", function()
    local config = made('colour = "blue"\n[server]\nport = "x"\n[[protocols]]\n' ..
        'name = "http"\nforward_to = 3\n'):gsub("\n%-%- ", " ")
    assert.truthy(config:find('colour = blue %(line 1%), server.port = x %(line 3%), protocols%[1%].name = http'))
    assert.truthy(config:find("protocols%[1%].forward_to = 3 %(line 6%)"))
  end)

  it("writes an option as soon as the schema has it", function()
    local text = '[server]\nport = 80\n[[protocols]]\nname = "dns"\nforward_to = "127.0.0.1:53"\ntransport = "udp"\n'
    local row = schema.route.by_name.transport
    schema.route.by_name.transport = nil
    assert.truthy(made(text):find('-- transport = "udp" is not available in this version', 1, true))
    schema.route.by_name.transport = row
    with_option("route", { name = "transport", values = { "tcp", "udp" } }, function()
      assert.truthy(made(text):find('{ rx.dns, to = "127.0.0.1:53", transport = "udp" },', 1, true))
    end)
    with_option("route", { name = "transport", values = { "tcp" } }, function()
      assert.truthy(made(text):find('-- transport = "udp" is not available in this version', 1, true))
    end)
  end)

  it("makes a pool where targets have options", function()
    local text = 'listen_port = 1\ntcp_target = ["127.0.0.1:1", "127.0.0.1:2"]\n'
    assert.truthy(made(text):find('balance = "first"', 1, true))
    assert.truthy(made(text .. 'tcp_load_balance = "source_ip"\n'):find('balance = "source_ip"', 1, true))
    text = 'listen_port = 1\ndns_cache_min_ttl = "20s"\ndns_cache_max_ttl = "2h"\n'
    assert.truthy(made(text .. 'tcp_target = ["a.test:1"]\n'):find('\n  ttl = { min = "20s", max = "2h" },', 1, true))
    local config = made(text .. 'tcp_target = ["127.0.0.1:1"]\n')
    assert.truthy(config:find('fallback_tcp = "127.0.0.1:1"', 1, true))
    assert.truthy(config:find('-- dns_cache_min_ttl, dns_cache_max_ttl: ttl = { min = "20s", max = "2h" }', 1, true))
    assert.truthy(made('listen_port = 1\ndns_cache_min_ttl = "2y"\n'):find(
        "-- dns_cache_min_ttl = 2y (line 2)", 1, true))
  end)

  it("puts narrower TLS routes of rpxy-l4 before wider ones", function()
    local config = made [[
listen_port = 1
[protocols.rest]
protocol = "tls"
target = ["127.0.0.1:1"]
[protocols.named]
protocol = "tls"
target = ["127.0.0.1:2"]
server_names = ["a.test"]
]]
    assert.is_true(config:find("127.0.0.1:2", 1, true) < config:find("127.0.0.1:1", 1, true))
  end)

  it("cannot be talked into Lua by what it quotes", function()
    local config = made('x = "a\\nos.exit()"\n[server]\nbind = "0.0.0.0"\n[[protocols]]\nname = "game"\n'
      .. 'patterns = ["\\" .. os.exit() .. \\"", "\\u0000]]"]\nforward_to = "127.0.0.1:1\\n"\n')
    assert.truthy(load(config))
    assert.is_nil(config:find("\nos.exit", 1, true))
    assert.truthy(config:find([==[patterns = { "\" .. os.exit() .. \"", "\x00]]" }]==], 1, true))
  end)
end)

describe("sslh's", function()
  local glob = require("refractium.import.sslh").glob

  it("globs become names or regular expressions", function()
    assert.equal("a.test", glob "a.test")
    assert.equal("*.a.test", glob "*.a.test")
    assert.equal("~^mail.\\.a\\.test$", glob "mail?.a.test")
    assert.equal("~^.*\\.a\\..*$", glob "*.a.*")
    assert.equal("~^[ab]\\.test$", glob "[ab].test")
    assert.equal("~^[^ab]\\.test$", glob "[!ab].test")
  end)

  it("regular expressions become bytes, rows of classes, or a comment", function()
    local regex = require "refractium.import.regex"
    local result = require("refractium.import.out").new("x", {})
    local routes = regex.protocols(result, { "^foo", "^b\\.r", "jabber", "^\1[a-c][^x].$", "(a|b)", "" }, "tcp")
    assert.equal(4, #routes)
    local own = result.protocols
    assert.same({ 'transport = "tcp",', 'prefix = { "foo", "b.r" },', 'patterns = "jabber",' }, own[2].fields)
    local body = table.concat(own[1].fields, "\n")
    local identify = assert(load("local rx = { more = 'more' } return { " .. body .. " }"))().identify
    local function buf(s)
      return setmetatable({}, { __index = function(_, i) return s:byte(i + 1) or -1 end })
    end
    assert.equal("more", identify(buf "\1b"))
    assert.is_true(identify(buf "\1by\255"))
    assert.is_false(identify(buf "\1bx"))
    assert.is_false(identify(buf "\1d"))
    assert.truthy(routes[3].why:find "%(a|b%)")
    assert.equal("rx.any", routes[4].proto)
  end)
end)

describe("docs/guide/migrating.md", function()
  local page = read_file "docs/guide/migrating.md"
  local HEADINGS = {
    refractium = "## refractium.toml", rpxy = "## rpxy-l4 config.toml", portmux = "## PortMux config.yaml",
    sslh = "## sslh.cfg", refract = "## refract",
  }
  for _, format in ipairs(import.formats) do
    it("has every key of " .. format, function()
      local from = assert(page:find("\n" .. HEADINGS[format] .. "\n", 1, true), "no such section")
      local to = page:find("\n## ", from + 1, true) or #page
      local section = page:sub(from, to)
      for _, key in ipairs(require("refractium.import." .. format).keys) do
        local last = key:match "([^.]+)$"
        local word = key:find "^%-%-" and key or last
        assert.truthy(section:find("`[^`\n]*%f[%w_-]" .. word:gsub("%p", "%%%0") .. "%f[^%w_-][^`\n]*`"), key)
      end
    end)
  end
end)
