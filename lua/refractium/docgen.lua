-- SPDX-License-Identifier: MIT
-- Writes the reference and the editor annotations from the schema.
-- Enters: luajit lua/refractium/docgen.lua OUT_MD OUT_META. Leaves: both files. As a module: M.reference() and
-- M.annotations() return their texts, which is how a test sees that the committed files are current.

local is_script = arg and arg[0] and string.find(arg[0], "docgen%.lua$") ~= nil
if is_script then
  package.path = string.gsub(arg[0], "refractium/docgen.lua$", "?.lua") .. ";" .. package.path
end

local schema = require "refractium.schema"
local builtin = require "refractium.builtin"

local concat, format, gsub = table.concat, string.format, string.gsub

local M = {}

-- How a type reads in the reference, and what the language server calls it.
local TYPES = {
  workers = { '`"auto"` or number', 'integer|"auto"' },
  count = { "number", "integer" },
  boolean = { "boolean", "boolean" },
  string = { "string", "string" },
  label = { "string", "string" },
  short_name = { "string", "string" },
  duration = { "duration", "rx.Duration" },
  size = { "size", "rx.Size" },
  access_log = { "boolean, word or path", "boolean|string" },
  log = { "word or path", "string" },
  admin = { "path or `false`", "string|false" },
  bytes = { "bytes or list", "string|string[]" },
  first_bytes = { "byte, range or list", "string|string[]" },
  segments = { "bytes or list", "string|string[]" },
  texts = { "string or list", "string|string[]" },
  target = { "target", "rx.Target" },
  routes = { "list of routes", "rx.Route[]" },
  samples = { "table", "rx.Samples" },
  http_address = { "address", "string" },
  token = { "string", "string" },
  store = { "URL", "string" },
  sandbox = { "boolean or word", 'boolean|"strict"' },
  own_store = { "URL or `false`", "string|false" },
  record = { "table", "rx.Record" },
  labels = { "name or list", "string|string[]" },
  expect = { "table", "rx.Expect" },
  rate = { "rate", "string|table" },
  byte_rate = { "bytes a second", "string" },
  over_limit = { "action", "rx.Action" },
  percent = { "percentage", "string" },
  canary = { "table or `false`", "rx.Canary|false" },
  expect_to = { "target or word", "rx.Target|rx.Outcome" },
  hooks = { "list of hooks", "rx.Hook[]" },
  sessions = { "sessions", "rx.Sessions" },
  exempt = { "table", "rx.Exempt" },
  identities = { "string or list", "string|string[]" },
  enforce = { "word or list", 'rx.Enforce|rx.Enforce[]' },
  expect_protocol = { "protocol", "rx.Protocol|string" },
  client = { "address", "string" },
  sources = { "address, range, block or list", "string|string[]" },
  servers = { "address or list", "string|string[]" },
  hosts = { "name or list", "string|string[]" },
  ttl = { "table", "rx.Ttl" },
  proxy_protocol = { "table", "rx.ProxyProtocol" },
  proxies = { "address, block or list", "string|string[]" },
  send_proxy = { '`"v1"`, `"v2"` or table', '"v1"|"v2"|rx.SendProxy' },
  health = { "table", "rx.Health" },
  http_path = { "path", "string" },
  word = { "string", "string" },
  statuses = { "number, range or list", "integer|string|(integer|string)[]" },
  payload = { "bytes", "string" },
  expectation = { "bytes, list or function", "string|string[]|fun(buf: rx.Buf): boolean|rx.More|nil, string?" },
}

local ITEM_TYPES = { port = { "port, range or list", "integer|string|(integer|string)[]" } }
ITEM_TYPES.qtype = { "type, number or list", "integer|string|(integer|string)[]" }

local function quoted(values)
  return '"' .. concat(values, '"|"') .. '"'
end

local function type_texts(row)
  if row.type == "choice" then
    return "`" .. gsub(quoted(row.values), "|", "`, `") .. "`", quoted(row.values)
  elseif row.type == "balance" then
    return "`" .. gsub(quoted(row.values), "|", "`, `") .. "` or function",
      quoted(row.values) .. "|fun(conn: rx.Conn, pool: rx.Backends): integer|rx.BackendState|nil"
  elseif row.type == "func" then
    return "function", format("fun(%s): %s", row.args, row.returns)
  elseif row.type == "own_limits" then
    return "table or function", "table<string, integer>|fun(identity: string): integer?"
  elseif row.type == "line_parser" then
    return "`rx.xray` or function", "rx.LineParser|fun(line: string): string?, string?, string?"
  elseif row.is_function then
    return "target or function", "rx.Target|fun(conn: rx.Conn): rx.Target|integer|nil"
  end
  local texts = row.item and ITEM_TYPES[row.item] or TYPES[row.type]
  return texts[1], texts[2]
end

local function default_text(row)
  if row.required then
    return "required"
  elseif row.default_text then
    return row.default_text
  elseif row.default == nil then
    return ""
  elseif type(row.default) == "string" then
    return format('`"%s"`', row.default)
  end
  return format("`%s`", tostring(row.default))
end

local function range_text(row)
  if not row.min then
    return ""
  elseif type(row.min) == "string" then
    return format("`%s` to `%s`", row.min, row.max)
  end
  return format("%d to %d", row.min, row.max)
end

-- A bar inside a cell would end it.
local function cell(text)
  return (gsub(text, "|", "\\|"))
end

local function table_of(section, out)
  out[#out + 1] = "| option | type | default | range | |"
  out[#out + 1] = "| --- | --- | --- | --- | --- |"
  for _, row in ipairs(section) do
    local type_text = type_texts(row)
    out[#out + 1] = format("| `%s` | %s | %s | %s | %s |", row.name, cell(type_text), cell(default_text(row)),
      range_text(row), cell(row.doc))
  end
  out[#out + 1] = ""
end

local INTRO = [[
# The config: refractium.lua

Generated from `lua/refractium/schema.lua` by `lua/refractium/docgen.lua`; edit there.

The config is Lua, run once per load; it declares. It begins with `local rx = require "refractium"` and uses the
verbs below. Pools, protocols and actions are values: keep them in a `local` and refer to them by that name. Anything
that is wrong is an error with its line, the path of the key and, where one is close, the word that was probably
meant; all errors of a file are shown together.

A config sees `string`, `table`, `math`, `bit`, `os.getenv`, `os.time`, `os.date`, `os.clock`, `ipairs`, `pairs`,
`next`, `select`, `unpack`, `pcall`, `error`, `assert`, `tonumber`, `tostring`, `type`, `setmetatable`, `getmetatable`,
`print` (to standard error) and `require "refractium"`. Reading any other global, or assigning one, is an error.

`rx.include "scripts/game.lua"` runs another file, named relative to the one it is written in, and returns what that
file returns; a file runs once however often it is included. `rx.log.error`, `warn`, `info` and `debug` take a message
and a table of details: `rx.log.info("odd client", { ip = conn.client.ip })`.

- **Durations** are strings with a unit: `"250ms"`, `"3s"`, `"1.5m"`, `"1h"`, `"1d"`.
- **Sizes** too, in powers of 1024: `"512b"`, `"16k"`, `"1m"`, `"1g"`.
- **Targets** are what `to` and the fallbacks take: a pool, an address (`"10.0.0.1:80"`, `"[::1]:80"`, `"name:80"`,
  `"unix:/path"`), a list of addresses, or an action.
- **Names** (`sni`, `host`, `qname`) are compared without regard to case: `"a.example.com"` is that name,
  `"*.example.com"` any name below it, `"~regex"` a Perl-compatible regular expression.
]]

-- What functions of a config see ------------------------------------------------------------------------------

local BUF = {
  { "#buf", "how many bytes there are so far" },
  { "buf[i]", "the byte at i; places count from 0, and beyond the end it is -1" },
  { "buf:u8(i)", "the same", "(i: integer): integer" },
  { "buf:u16(i)", "the number at i in network order, -1 when it is not all there", "(i: integer): integer" },
  { "buf:u24(i)", "the same of three bytes", "(i: integer): integer" },
  { "buf:u32(i)", "the same of four bytes", "(i: integer): integer" },
  { "buf:u16le(i)", "the number at i with its low byte first, -1 when it is not all there", "(i: integer): integer" },
  { "buf:u32le(i)", "the same of four bytes", "(i: integer): integer" },
  { "buf:starts(s, at)", "whether the bytes at `at` (0 unless given) are s",
    "(s: string, at: integer?): boolean" },
  { "buf:find(s, from)", "the first place of s at or after `from` (0 unless given), or nil",
    "(s: string, from: integer?): integer?" },
  { "buf:sub(i, j)", "a string: the bytes from i up to, but not with, j (the end unless given), so that"
    .. " `buf:sub(0, 4)` is the first four; negative places count from the end",
    "(i: integer?, j: integer?): string" },
  { "buf:line()", "the first line without its end, or nil while none has ended", "(): string?" },
  { "buf:hex(n)", "the first n bytes (32 unless given) as hexadecimal digits, for logs", "(n: integer?): string" },
}

local CONN = {
  { "id", "integer", "its number in logs" },
  { "client", "rx.Client", "`conn.client.ip` and `conn.client.port`" },
  { "listener", "string", "the address it came to" },
  { "transport", "string", "`tcp` or `udp`" },
  { "to_port", "integer", "the port it came to" },
  { "protocol", "string", "what it was recognised as" },
  { "sni", "string", "the name a TLS or QUIC client asks for" },
  { "alpn", "string[]", "the application protocols it offers; an empty list when none" },
  { "ech", "boolean", "whether it offers encrypted client hello" },
  { "host", "string", "the host of an HTTP request" },
  { "path", "string", "its path" },
  { "method", "string", "its method" },
  { "software", "string", "what an SSH client calls itself" },
  { "qname", "string", "the name a DNS query asks for" },
  { "qtype", "integer", "the type it asks for" },
  { "user", "string", "the user name a client gave" },
  { "key", "string", "what `identify` returned with `true`" },
  { "route", "string", "the route's name" },
  { "proxy", "rx.Proxy", "what a PROXY header said (nil without one): `.version`, `.via` (the proxy's address),"
    .. " `.authority`, `.alpn`, `.unique_id`, `.netns`, `.ssl` (`.is_tls`, `.has_cert`, `.is_verified`, `.version`,"
    .. " `.cn`, `.cipher`, `.sig_alg`, `.key_alg`), and `:tlv(type)` for the bytes of any other" },
  { "ja4", "string", "the JA4 fingerprint of a TLS client" },
  { "pool", "string", "in hooks: the pool it went to" },
  { "backend", "string", "in hooks: the backend it reached" },
  { "bytes_in", "integer", "in hooks: what the client has sent so far" },
  { "bytes_out", "integer", "in hooks: what it was sent so far" },
  { "age", "number", "in hooks: seconds since it came" },
  { "time", "number", "in hooks: when this happened, in seconds since 1970" },
  { "lost", "integer", "in hooks: bytes that `on_data` was not shown so far" },
}

local FUNCTIONS = [[
## Functions

`identify`, `when`, `to`, `balance` and `on_accept` are called while connections are served, each worker for itself:
what a function keeps in a variable, other workers do not see. A call may take `script_budget`; one that takes longer
is stopped, and its function is not called again until the next good reload. An error in a function counts as
described with it, and is logged. Patterns (`string.match`, `gmatch`, `gsub`, and `find` without its fourth
argument) are only there while the config loads, and one that would not end is an error; regular expressions made by
`rx.re` always are. `buf`, `conn` and `pool` are good for the call they were given to; using them later is an error.

`on_open`, `on_data`, `on_close` and `rx.every("10s", function() ... end)` run on one thread for the whole process, in
a Lua state of their own, and see copies; `filter` runs in the worker, in the flow. `buf` is then the bytes that passed.
`rx.file(path)` is a file for the former to append to: `file:write(text)`, `file:size()`; given
`rx.file(path, { max = "100m" })` it grows no further, and `write` returns false. It is opened when the config is taken,
and again when it was rotated away.

`buf` is what a client has said so far:
]]

local RE = [[
`rx.re "pattern"` compiles a Perl-compatible regular expression (PCRE2) while the config loads; functions may use it on
strings and on `buf`, whose bytes are not copied. `(?i)` at its beginning makes case not matter; a backslash is written
twice in Lua.

- `re:test(s, from)`: whether it matches anywhere at or behind `from`.
- `re:find(s, from)`: where it matches, so that `s:sub(re:find(s))` is what it matched; of `buf` likewise, from 0. Nil
  when nowhere.
- `re:match(s, from)`: what its groups matched (nil for one that took no part; at most nine), without groups all of it.
  Nil when it does not match.

A search has a limit on steps and ends with the budget; running into either is an error in that call.
]]

local BANS = [[
`rx.ban(whom, ttl)` turns an address or a block away for a while: before anything is spent on its connections, with a
reset, and connections it has are closed. A plain address bans that address alone, for IPv6 too: to ban a whole network
write `ip .. "/64"`. `ttl` is a duration or a number of seconds. A ban survives reloads and ends by itself; a second one
of the same address or block lasts until the later of the two. At most 1000000 are kept: `false` when there is no room.
`rx.unban(whom)` takes back exactly that entry and returns whether it was there.

Where functions run without a connection (tests, samples, `explain`, warming up) metrics and bans are left alone, and
`rx.shared` tables are empty ones that nobody else sees; the tests of one load see what earlier tests left in them.]]

local function functions(out)
  out[#out + 1] = FUNCTIONS
  for _, row in ipairs(BUF) do
    out[#out + 1] = format("- `%s`: %s.", row[1], row[2])
  end
  out[#out + 1] = ""
  out[#out + 1] = "`conn` is the connection. What is not known is nil:"
  out[#out + 1] = ""
  for _, row in ipairs(CONN) do
    out[#out + 1] = format("- `conn.%s`: %s.", row[1], row[3])
  end
  out[#out + 1] = ""
  out[#out + 1] = "`pool` lists backends: `#pool`, `pool[i].name` (its address), `pool[i].active` (its connections)."
  out[#out + 1] = ""
  out[#out + 1] = RE
  out[#out + 1] = BANS
  out[#out + 1] = ""
end

local function list_of(title, rows, out, name)
  out[#out + 1] = "## " .. title
  out[#out + 1] = ""
  for _, row in ipairs(rows) do
    out[#out + 1] = format("- `%s`: %s", name(row), row.doc)
  end
  out[#out + 1] = ""
end

local WEB = "stands in a route for `rx.tls` and `rx.quic`: two routes that share all the entry says"

local function protocol_rows(out)
  out[#out + 1] = "## Protocols"
  out[#out + 1] = ""
  out[#out + 1] = "Built-in protocols are values. Every route may ask for `from`, `not_from` and `to_port`; the last"
  out[#out + 1] = "column is what else a route on that protocol may ask for. A protocol of your own has `key`."
  out[#out + 1] = ""
  out[#out + 1] = "| value | over | recognises | conditions |"
  out[#out + 1] = "| --- | --- | --- | --- |"
  for _, row in ipairs(builtin) do
    local facts = #row.facts > 0 and "`" .. concat(row.facts, "`, `") .. "`" or ""
    local over = row.transport == "both" and "TCP, UDP" or row.transport:upper()
    out[#out + 1] = format("| `rx.%s` | %s | %s | %s |", row.name, over, row.doc, facts)
  end
  out[#out + 1] = ""
  out[#out + 1] = "`rx.web` " .. WEB .. ": `{ rx.web, sni = \"*.example.com\", to = web }`."
  out[#out + 1] = ""
end

---The text of docs/reference/config.md.
function M.reference()
  local out = { INTRO }
  for _, name in ipairs(schema.order) do
    local section = schema[name]
    out[#out + 1] = "## " .. section.verb
    out[#out + 1] = ""
    out[#out + 1] = section.doc
    out[#out + 1] = ""
    table_of(section, out)
  end
  functions(out)
  list_of("Actions", schema.actions, out, function(row) return "rx." .. row.name end)
  protocol_rows(out)
  out[#out] = nil
  return concat(out, "\n") .. "\n"
end

-- Annotations -----------------------------------------------------------------------------------------------

local CLASS = {
  server = "rx.Server", listen = "rx.Listen", route = "rx.Route", pool = "rx.PoolOptions", backend = "rx.Backend",
  counter = "rx.CounterOptions", gauge = "rx.GaugeOptions", shared = "rx.SharedOptions",
  protocol = "rx.ProtocolOptions", samples = "rx.Samples", ttl = "rx.Ttl", test = "rx.Test", expect = "rx.Expect",
  canary = "rx.Canary", proxy_protocol = "rx.ProxyProtocol", send_proxy = "rx.SendProxy", health = "rx.Health",
  hook = "rx.HookOptions",
  sessions = "rx.SessionsOptions",
  exempt = "rx.Exempt",
  tail = "rx.TailOptions",
  record = "rx.Record",
}

local POSITIONS = {
  route = { "[1]", "rx.Protocol", "What the client must speak." },
  pool = { "[integer]", "string|rx.Backend", "The backends." },
  backend = { "[1]", "string", "Its address." },
}

local HEAD = [[
---@meta refractium
-- Generated from lua/refractium/schema.lua by lua/refractium/docgen.lua; edit there.

---@alias rx.Duration string "250ms", "3s", "1m", "1h", "1d"
---@alias rx.Size string "512b", "16k", "1m"
---@alias rx.Enforce "ban"|"nftables"|"kill"|"conntrack"
---@alias rx.Target rx.Pool|rx.Action|string|(string|rx.Backend)[]
---@alias rx.Outcome %s

---A protocol, for the first place of a route.
---@class rx.Protocol

---A pool of backends, for `to` and fallbacks.
---@class rx.Pool

---Functions that see connections, for `hooks`.
---@class rx.Hook

---From how many addresses identities may be active at once.
---@class rx.Sessions

---What reads the lines of a log.
---@class rx.LineParser

---A file that hooks append to.
---@class rx.File
---@field write fun(self: rx.File, text: string): boolean
---@field size fun(self: rx.File): integer

---What a route does without a backend.
---@class rx.Action
---@overload fun(text: string): rx.Action

---Another look when there are more bytes.
---@class rx.More

---@class rx.Client
---@field ip string
---@field port integer

---What a PROXY header said.
---@class rx.Proxy
---@field version integer
---@field via string the proxy's address
---@field authority? string
---@field alpn? string
---@field unique_id? string
---@field netns? string
---@field ssl? rx.ProxySsl
---@field tlv fun(self: rx.Proxy, type: integer): string? the bytes of a TLV

---@class rx.ProxySsl
---@field is_tls boolean
---@field has_cert boolean
---@field is_verified boolean
---@field version? string
---@field cn? string
---@field cipher? string
---@field sig_alg? string
---@field key_alg? string

---A backend as a `balance` function sees it.
---@class rx.BackendState
---@field name string its address
---@field active integer connections it has now

---@class rx.Backends
---@operator len: integer
---@field [integer] rx.BackendState

---@class rx.Counter
---@field inc fun(self: rx.Counter, ...: string|number|boolean) one more, with these label values
---@field add fun(self: rx.Counter, n: number, ...: string|number|boolean)

---@class rx.Gauge
---@field set fun(self: rx.Gauge, v: number, ...: string|number|boolean)
---@field add fun(self: rx.Gauge, n: number, ...: string|number|boolean)
---@field inc fun(self: rx.Gauge, ...: string|number|boolean)
---@field dec fun(self: rx.Gauge, ...: string|number|boolean)

---@class rx.Shared
---@field get fun(self: rx.Shared, key: string|number): string|number|boolean|nil
---@field set fun(self: rx.Shared, key: string|number, v: string|number|boolean, ttl?: string|number)
---@field add fun(self: rx.Shared, key: string|number, v: string|number|boolean, ttl?: string|number): boolean
---@field incr fun(self: rx.Shared, key: string|number, by?: number, ttl?: string|number): number
---@field delete fun(self: rx.Shared, key: string|number): boolean

---@class rx.Re
---@field test fun(self: rx.Re, s: string|rx.Buf, from?: integer): boolean Whether it matches at or behind `from`.
---@field find fun(self: rx.Re, s: string|rx.Buf, from?: integer): integer?, integer? Where it matches first.
---@field match fun(self: rx.Re, s: string|rx.Buf, from?: integer): string?, ... What its groups, or all of it, matched.

---@class rx.Log
---@field error fun(message: any, details?: table)
---@field warn fun(message: any, details?: table)
---@field info fun(message: any, details?: table)
---@field debug fun(message: any, details?: table)
]]

local function class(name, out)
  local section = schema[name]
  out[#out + 1] = "---" .. section.doc
  out[#out + 1] = "---@class " .. CLASS[name]
  if POSITIONS[name] then
    out[#out + 1] = format("---@field %s %s %s", unpack(POSITIONS[name]))
  end
  for _, row in ipairs(section) do
    local _, type_text = type_texts(row)
    local default, range = default_text(row), range_text(row)
    local notes = (default ~= "" and default ~= "required" and format(" Default: %s.", default) or "")
      .. (range ~= "" and format(" Range: %s.", range) or "")
    out[#out + 1] = format("---@field %s%s %s %s%s", row.name, row.required and "" or "?", type_text, row.doc, notes)
  end
  out[#out + 1] = ""
end

local function call_classes(out)
  out[#out + 1] = "---The first bytes of a connection."
  out[#out + 1] = "---@class rx.Buf"
  out[#out + 1] = "---@operator len: integer"
  out[#out + 1] = "---@field [integer] integer " .. BUF[2][2]
  for _, row in ipairs(BUF) do
    if row[3] then
      local rest = row[3]:sub(2)
      out[#out + 1] = format("---@field %s fun(self: rx.Buf%s%s %s", row[1]:match ":(%w+)",
        rest:sub(1, 1) == ")" and "" or ", ", rest, row[2])
    end
  end
  out[#out + 1] = ""
  out[#out + 1] = "---A connection."
  out[#out + 1] = "---@class rx.Conn"
  for _, row in ipairs(CONN) do
    out[#out + 1] = format("---@field %s %s? %s", row[1], row[2], row[3])
  end
  out[#out + 1] = ""
end

local VERBS = [[
---@class refractium
local rx = {}

---%s
---@param options rx.Server
function rx.server(options) end

---%s
---@param address string|string[]
---@return fun(options: rx.Listen)
function rx.listen(address) end

---%s
---@param name string
---@return fun(options: rx.ProtocolOptions): rx.Protocol
function rx.protocol(name) end

---%s
---@param name string
---@return fun(options: rx.PoolOptions): rx.Pool
function rx.pool(name) end

---%s
---@param name string
---@return fun(options: rx.Test)
function rx.test(name) end

---%s
---@param name string
---@return fun(options: rx.CounterOptions): rx.Counter
function rx.counter(name) end

---%s
---@param name string
---@return fun(options: rx.GaugeOptions): rx.Gauge
function rx.gauge(name) end

---%s
---@param name string
---@return fun(options: rx.SharedOptions): rx.Shared
function rx.shared(name) end

---Turns an address or a block away for a while: before anything is spent on its connections, and those it has are
---closed. Only in functions. False: the list has no room left.
---@param whom string "192.0.2.1", "2001:db8::/64"
---@param ttl string|number "10m", or seconds
---@return boolean
function rx.ban(whom, ttl) end

---Takes back exactly this ban; true when it was there. Only in functions.
---@param whom string
---@return boolean
function rx.unban(whom) end

---%s
---@param name string
---@return fun(options: rx.HookOptions): rx.Hook
function rx.hook(name) end

---%s
---@param name string
---@return fun(options: rx.SessionsOptions): rx.Sessions
function rx.sessions(name) end

---%s
---@param path string
---@return fun(options: rx.TailOptions)
function rx.tail(path) end

---Reads lines of the access log of Xray and V2Ray, for rx.tail.
---@type rx.LineParser
rx.xray = nil

---Calls a function again and again, on the hooks' thread.
---@param interval rx.Duration
---@param fn fun()
function rx.every(interval, fn) end

---A file for hooks to append to.
---@param path string
---@param options? { max?: rx.Size }
---@return rx.File
function rx.file(path, options) end

---Runs another file, named relative to this one, once; returns what it returns.
---@param path string
---@return any
function rx.include(path) end
]]

local function field(out, name, doc, class_name)
  out[#out + 1] = "---" .. doc
  out[#out + 1] = "---@type " .. class_name
  out[#out + 1] = "rx." .. name .. " = nil"
  out[#out + 1] = ""
end

---The text of lua/refractium/meta/refractium.lua.
function M.annotations()
  local outcomes = {}
  for i, word in ipairs(schema.outcomes) do
    outcomes[i] = format('"%s"', word)
  end
  local out = { format(HEAD, concat(outcomes, "|")) }
  for _, name in ipairs(schema.order) do
    class(name, out)
  end
  call_classes(out)
  local function doc(name)
    return schema[name].doc
  end
  out[#out + 1] = format(VERBS, doc "server", doc "listen", doc "protocol", doc "pool", doc "test", doc "counter",
    doc "gauge", doc "shared", doc "hook", doc "sessions", doc "tail")
  for _, row in ipairs(schema.actions) do
    field(out, row.name, row.doc, "rx.Action")
  end
  field(out, "more", "What `identify` returns to be asked again when there are more bytes.", "rx.More")
  field(out, "log", "Lines for the log.", "rx.Log")
  field(out, "re", "A regular expression for functions of the config.", "fun(pattern: string): rx.Re")
  for _, row in ipairs(builtin) do
    field(out, row.name, row.doc, "rx.Protocol")
  end
  field(out, "https", "The same as `rx.tls`.", "rx.Protocol")
  field(out, "web", "It " .. WEB .. ".", "rx.Protocol")
  out[#out + 1] = "return rx\n"
  return concat(out, "\n")
end

local function write(path, text)
  local file = assert(io.open(path, "w"))
  assert(file:write(text))
  assert(file:close())
end

if is_script then
  if not (arg[1] and arg[2]) then
    io.stderr:write("usage: luajit lua/refractium/docgen.lua OUT_MD OUT_META\n")
    os.exit(1)
  end
  write(arg[1], M.reference())
  write(arg[2], M.annotations())
end

return M
