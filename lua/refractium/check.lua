-- SPDX-License-Identifier: MIT
-- Validation: from what the config declared to a model that can be built.
-- Enters: a session (init.lua), the rules of the command line (forward.lua), a link to the program. Leaves: the
-- model, a plain table described at M.run, complete only when the report holds no error.
--
-- Everything is looked at once, every finding is reported, and a value that is wrong is simply absent from the
-- model. Lines are looked up only for findings.

local builtin = require "refractium.builtin"
local forward = require "refractium.forward"
local init = require "refractium.init"
local kinds = require "refractium.kinds"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local suggest = require "refractium.suggest"
local units = require "refractium.units"
local value = require "refractium.value"

local floor, ipairs, next, rawget, setmetatable, tostring, type =
  math.floor, ipairs, next, rawget, setmetatable, tostring, type
local concat, find, format, sort = table.concat, string.find, string.format, table.sort

local ADDR_LISTEN = 0
local PEEK_TIMEOUT_HIGH, PER_IP_HIGH = 5000, 200 -- beyond these a warning, as the predecessors gave

local M = {}

-- The place being looked at ---------------------------------------------------------------------------------

local context = {}
context.__index = context

function context:push(key)
  self.path[#self.path + 1] = key
end

function context:pop()
  self.path[#self.path] = nil
end

function context:at(key, fn)
  self:push(key)
  fn()
  self:pop()
end

function context:where()
  local declaration = self.declaration
  return declaration.line and self.locate and self.locate:line(declaration, self.path) or declaration.line
end

function context:describe(text)
  local parts = { self.declaration.title or init.title(self.declaration.verb, self.declaration.name) }
  for _, key in ipairs(self.path) do
    parts[#parts + 1] = kinds.path_part(key)
  end
  return concat(parts) .. ": " .. text
end

function context:fail(text)
  self.report:error(self:where(), self:describe(text))
end

function context:warn(text)
  self.report:warn(self:where(), self:describe(text))
end

function context:twice(what, first)
  return format("%s twice (first %s)", what, self.report.sources:text_from(first, self.declaration.line))
end

function context:begin(declaration)
  self.declaration = declaration
  self.path = {}
end

local function key_names(section)
  local names = {}
  for _, row in ipairs(section) do
    names[#names + 1] = row.name
  end
  return names
end

-- Reports a key that no row describes; returns the one that was probably meant.
local function unknown_key(ctx, section, key)
  if type(key) ~= "string" then
    ctx:fail("unexpected entry without a name")
  elseif section.not_yet[key] then
    ctx:fail(format("%s is not available in this version", key))
  else
    local names = key_names(section)
    ctx:fail(format("unknown key%s", suggest.hint(key, names)))
    return suggest.closest(key, names)
  end
end

local function is_position(section, key)
  return section.is_list and type(key) == "number" and key >= 1 and floor(key) == key
end

-- Defaults in the form build.lua wants, made once for each section.
local function defaults(section)
  if not section.default_values then
    local values = {}
    for _, row in ipairs(section) do
      local v = row.default
      if row.type == "duration" and v then
        v = units.duration(v)
      elseif row.type == "percent" then
        v = units.percent(v)
      elseif row.type == "size" and v then
        v = units.size(v)
      elseif row.type == "workers" then
        v = 0
      end
      values[row.name] = v
    end
    section.default_values = values
  end
  return section.default_values
end

-- Reports keys that no row describes, in an order that does not depend on the table's; returns, as a set, the
-- names that were probably meant.
local function unknown_keys(ctx, section, t)
  local unknown
  for key in next, t do
    if not section.by_name[key] and not is_position(section, key) then
      unknown = unknown or {}
      unknown[#unknown + 1] = key
    end
  end
  local meant = {}
  if unknown then
    sort(unknown, function(a, b) return tostring(a) < tostring(b) end)
  end
  for _, key in ipairs(unknown or {}) do
    ctx:push(key)
    meant[unknown_key(ctx, section, key) or false] = true
    ctx:pop()
  end
  return meant
end

---The options of `t` by name, judged by their rows, with defaults for what is absent.
function context:fields(section, t)
  local out, meant = {}, unknown_keys(self, section, t)
  local values = defaults(section)
  for i = 1, #section do
    local row = section[i]
    local name = row.name
    local v = rawget(t, name)
    if v == nil then
      out[name] = values[name]
      if row.required and not meant[name] then
        self:fail(format("%s is missing", name))
      end
    elseif not value.is_unknown(v) then
      self:push(name)
      out[name] = kinds[row.type](self, row, v)
      self:pop()
    end
  end
  return out
end

-- Protocols and pools ---------------------------------------------------------------------------------------

local NAME_PATTERN = "^%w[%w_.-]*$"

-- One name, one thing: says so when it is taken or no name.
local function check_name(ctx, known, name)
  local first = known[name]
  if first then
    ctx:fail(first.line and ctx:twice("declared", first.line) or "is the name of a built-in one")
  elseif #name > 63 or not find(name, NAME_PATTERN) then
    ctx:fail("a name has at most 63 letters, digits, _, - and ., and begins with a letter or digit")
  end
end

-- What a function is never asked about it cannot recognise.
local function check_first(ctx, given, options)
  if given.identify == nil then
    ctx:at("first", function() ctx:fail("is about identify, and there is none") end)
  elseif given.prefix ~= nil then
    ctx:at("first", function() ctx:fail("is what prefix says already; leave one of them out") end)
  end
  if given.patterns ~= nil then
    return
  end
  for i, bytes in ipairs(options.samples and options.samples.yes or {}) do
    local may, b = false, bytes:byte()
    for _, range in ipairs(options.first or {}) do
      may = may or b >= range.low and b <= range.high
    end
    if not may then
      ctx:at("first", function()
        ctx:fail(format("leaves out byte 0x%02x, with which samples.yes[%d] begins", b, i))
      end)
    end
  end
end

local function protocol(ctx, declaration, known)
  local record = declaration.value
  check_name(ctx, known, declaration.name)
  known[declaration.name] = known[declaration.name] or { line = declaration.line }
  local options = ctx:fields(schema.protocol, declaration.options)
  local given = declaration.options
  if given.prefix == nil and given.patterns == nil and given.identify == nil then
    ctx:fail("nothing says how to recognise it: give prefix, patterns or identify")
  elseif given.within ~= nil and given.patterns == nil then
    ctx:at("within", function() ctx:fail("is about patterns, and there are none") end)
  end
  if given.first ~= nil then
    check_first(ctx, given, options)
  end
  record.model = {
    name = declaration.name, line = declaration.line, transport = options.transport, within = options.within,
    prefix = options.prefix or {}, patterns = options.patterns or {}, samples = options.samples or {},
    identify = options.identify, first = options.first or {}, is_server_first = options.is_server_first,
  }
  return record.model
end

local function pool(ctx, declaration, known)
  check_name(ctx, known, declaration.name)
  known[declaration.name] = known[declaration.name] or { line = declaration.line }
  local options = ctx:fields(schema.pool, declaration.options)
  if #declaration.options == 0 then
    ctx:fail('has no targets: rx.pool "name" { "10.0.0.1:80", ... }')
  end
  return {
    name = declaration.name, line = declaration.line, tries = options.tries or 0,
    balance = type(options.balance) == "string" and options.balance or nil,
    policy = type(options.balance) == "function" and options.balance or nil,
    options = options, backends = kinds.backends(ctx, declaration.options),
  }
end

local function each_declared(session, verb, fn)
  for _, declaration in ipairs(session.declarations) do
    if declaration.verb == verb then
      fn(declaration)
    end
  end
end

local function check_protocols(ctx, model)
  local known = {}
  for name in next, ctx.session.protocols do
    known[name] = {}
  end
  each_declared(ctx.session, "protocol", function(declaration)
    ctx:begin(declaration)
    model.protocols[#model.protocols + 1] = protocol(ctx, declaration, known)
  end)
  -- Known by name to -f rules and tests only now, so that a duplicate does not hide a built-in.
  for _, proto in ipairs(model.protocols) do
    if not ctx.session.protocols[proto.name] then
      ctx.session.protocols[proto.name] = { name = proto.name, model = proto, text = "rx.protocol " .. proto.name }
      ctx.session.names[#ctx.session.names + 1] = proto.name
    end
  end
end

-- Names first: a pool may be meant by its name anywhere, also above its declaration.
local function check_pools(ctx, model)
  local known = {}
  each_declared(ctx.session, "pool", function(declaration)
    ctx:begin(declaration)
    local checked = pool(ctx, declaration, known)
    declaration.value.model = checked
    model.pools[#model.pools + 1] = checked
    ctx.pool_by_name[checked.name] = ctx.pool_by_name[checked.name] or checked
  end)
end

-- Hooks: before what they are put on.
local function check_hooks(ctx, model)
  local known = {}
  each_declared(ctx.session, "hook", function(declaration)
    ctx:begin(declaration)
    check_name(ctx, known, declaration.name)
    known[declaration.name] = known[declaration.name] or { line = declaration.line }
    local checked = ctx:fields(schema.hook, declaration.options)
    if next(checked) == nil then
      ctx:fail("has nothing to do: give on_open, on_data, on_close or filter")
    end
    checked.name, checked.line = declaration.name, declaration.line
    declaration.value.model = checked
    model.hooks[#model.hooks + 1] = checked
  end)
end

-- Routes ----------------------------------------------------------------------------------------------------

-- Keys of a route that narrow it down.
local CONDITIONS = {}
for _, row in ipairs(schema.route) do
  if row.cond or row.name == "ech" or row.name == "when" then
    CONDITIONS[#CONDITIONS + 1] = row.name
  end
end

local ALWAYS = { from = true, not_from = true, to_port = true, during = true, when = true }

local NAME_FACTS = { sni = true, host = true, qname = true }

local function misfit(proto, fact)
  if not proto.is_builtin then
    return format("a protocol of your own has no %s (only key, from, not_from, to_port, during and when)", fact)
  elseif fact == "key" then
    return format("%s has no key; only protocols of your own do", proto.text)
  end
  local having = builtin.having(fact)
  local other = NAME_FACTS[fact] and builtin.name_fact(proto.name)
  if other then
    return format('%s has no %s (did you mean "%s"?)', proto.text, fact, other)
  end
  return format("%s has no %s (only rx.%s)", proto.text, fact, concat(having, ", rx."))
end

local function fits(proto, fact)
  if ALWAYS[fact] then
    return true
  elseif proto.is_builtin then
    return fact ~= "key" and builtin.can_learn(proto.name, fact)
  end
  return fact == "key"
end

local function check_conditions(ctx, proto, entry)
  for i = 1, #CONDITIONS do
    local key = CONDITIONS[i]
    if rawget(entry, key) ~= nil and not fits(proto, key) then
      ctx:at(key, function() ctx:fail(misfit(proto, key)) end)
    end
  end
end

-- The entry's protocol, and for rx.web another one.
local function route_protocol(ctx, entry)
  local first = entry[1]
  local record = value.of(first)
  if record and record.kind == "web" then
    return ctx.session.protocols.tls, ctx.session.protocols.quic
  end
  if record and (record.kind == "protocol" or record.kind == "unknown" or record.kind == "pending") then
    return record.kind == "protocol" and record or nil
  end
  ctx:push(1)
  if type(first) == "string" then
    if ctx.session.protocols[first] and ctx.session.protocols[first].is_builtin then
      ctx:fail(format('write the value rx.%s, not the string "%s"', first, first))
    elseif ctx.session.protocols[first] then
      ctx:fail(format('write the value that rx.protocol "%s" { ... } returned, not its name', first))
    else
      ctx:fail(ctx.session:no_protocol(first, true))
    end
  elseif first == nil then
    ctx:pop()
    ctx:fail("begins with no protocol: { rx.tls, to = ... }")
    return nil
  else
    ctx:fail(format("must be a protocol value like rx.tls, not %s", kinds.what(first)))
  end
  ctx:pop()
  return nil
end

local function has_conditions(entry)
  for i = 1, #CONDITIONS do
    if rawget(entry, CONDITIONS[i]) ~= nil then
      return true
    end
  end
  return false
end

-- What the route is about: an earlier one without conditions takes all of it when it is about as much.
-- `of`: which part of the entry, where it has two.
local function check_transport(ctx, proto, of, options, state, index, is_bare)
  local own = builtin.transport_of(proto)
  local mine = options.transport or own
  if own ~= "both" and own ~= mine then
    ctx:at("transport", function() ctx:fail(format("%s is spoken over %s only", proto.text, own)) end)
    return
  end
  local shadow = state.taken[proto.name .. "/" .. mine] or state.taken[proto.name .. "/both"]
  if shadow then
    ctx:warn(format("is never reached%s: routes[%d] takes all of %s", of, shadow, proto.text))
  elseif is_bare then
    state.taken[proto.name .. "/" .. mine] = index
  end
end

-- What the entry means: a route; for rx.web two that share everything but the protocol.
local function route(ctx, entry, state, index)
  if type(entry) ~= "table" or value.of(entry) then
    if not value.is_unknown(entry) then
      ctx:fail(format("must be a route { rx.tls, to = ... }, not %s", kinds.what(entry)))
    end
    return nil
  end
  local proto, other = route_protocol(ctx, entry)
  local options = ctx:fields(schema.route, entry)
  if #entry > 1 then
    ctx:at(2, function() ctx:fail("one protocol for each route; a condition needs its name, as in sni = ...") end)
  end
  if proto then
    local takes_all = not has_conditions(entry) and not (options.to and options.to.kind == "script")
    check_conditions(ctx, proto, entry)
    check_transport(ctx, proto, other and " for " .. proto.text or "", options, state, index, takes_all)
    if other then
      check_transport(ctx, other, " for " .. other.text, options, state, index, takes_all)
    end
  end
  if options.fallback and options.to and options.to.kind ~= "pool" and options.to.kind ~= "script" then
    ctx:at("fallback", function() ctx:fail("only a route to a pool or an address can run out of backends") end)
  end
  if options.mirror and options.mirror.kind ~= "pool" then
    ctx:at("mirror", function() ctx:fail("must be a pool or an address: it gets a copy of what clients say") end)
  elseif options.mirror and options.to and options.to.kind ~= "pool" and options.to.kind ~= "script" then
    ctx:at("mirror", function() ctx:fail("only what goes to a pool or an address is mirrored") end)
  end
  if options.sessions then
    sessions.use(ctx, options.sessions)
  end
  return { proto = proto, options = options, index = index, transport = options.transport },
    other and { proto = other, options = options, index = index, transport = options.transport } or nil
end

local function check_routes(ctx, listen, list)
  local state = { taken = {} }
  ctx:push("routes")
  local n = #list
  for key in next, list do
    if type(key) ~= "number" or key < 1 or key > n or floor(key) ~= key then
      ctx:at(key, function()
        ctx:fail("unexpected key in the list of routes (a route is a table: { rx.tls, to = ... })")
      end)
    end
  end
  local first = value.of(list[1])
  if first and (first.kind == "protocol" or first.kind == "web") then
    ctx:fail("must be a list of routes: { { rx.tls, to = ... } }")
    n = 0
  end
  for i = 1, n do
    ctx:push(i)
    local one, other = route(ctx, list[i], state, i)
    listen.routes[#listen.routes + 1] = one
    listen.routes[#listen.routes + 1] = other
    ctx:pop()
  end
  ctx:pop()
end

-- Listeners -------------------------------------------------------------------------------------------------

local function check_address(ctx, address, taken)
  local first = taken[address]
  if first and not find(address, ":0$") then -- for port 0 the kernel picks another one each time
    ctx:fail(ctx:twice(format('"%s" is listened on', address), first))
  elseif kinds.address(ctx, ADDR_LISTEN, address) then
    taken[address] = ctx.declaration.line
  end
end

local function listen(ctx, declaration, taken)
  local addresses = type(declaration.name) == "table" and declaration.name or { declaration.name }
  for _, address in ipairs(addresses) do
    check_address(ctx, address, taken)
  end
  local options = ctx:fields(schema.listen, declaration.options)
  local out = { declaration = declaration, addresses = addresses, options = options, routes = {} }
  if options.routes then
    check_routes(ctx, out, options.routes)
    out.has_routes = #options.routes > 0
  end
  return out
end

local function has_fallback(options, raw)
  return options.fallback_tcp or options.fallback_udp or raw and (raw.fallback_tcp ~= nil or raw.fallback_udp ~= nil)
end

local function check_listens(ctx, model)
  local taken = {}
  each_declared(ctx.session, "listen", function(declaration)
    ctx:begin(declaration)
    local out = listen(ctx, declaration, taken)
    model.listens[#model.listens + 1] = out
    local is_broken = declaration.options.routes ~= nil and not out.options.routes
    if not (is_broken or out.has_routes or out.options.identify or has_fallback(out.options, declaration.options)
      or has_fallback(model.server, model.server_options) or ctx.has_rules) then
      ctx:fail("no routes and no fallback: every connection would be dropped")
    end
  end)
end

local function check_server(ctx, model)
  local first
  each_declared(ctx.session, "server", function(declaration)
    ctx:begin(declaration)
    if first then
      ctx:fail(ctx:twice("declared", first))
      return
    end
    first = declaration.line
    model.server_options = declaration.options
    model.server = ctx:fields(schema.server, declaration.options)
    model.server_declaration = declaration
    local metrics = model.server.metrics
    if metrics and not model.server.metrics_token and not (find(metrics, "^127%.") or find(metrics, "^%[::1%]")) then
      ctx:warn(format("metrics: whoever can reach %s may read them (set metrics_token, or use 127.0.0.1)", metrics))
    end
  end)
end

-- What scripts keep -----------------------------------------------------------------------------------------

local function check_metric(ctx, model, declaration, kind)
  ctx:begin(declaration)
  local name, options = declaration.name, ctx:fields(schema[kind], declaration.options)
  if not find(name, "^[%a_:][%w_:]*$") or #name > 128 then
    ctx:fail("Prometheus takes no such name: letters, digits, _ and :, not beginning with a digit")
  elseif find(name, "^refractium_") then
    ctx:fail("names that begin with refractium_ are the program's own")
  elseif kind == "counter" and not find(name, "_total$") then
    ctx:warn(format('by custom of Prometheus a counter\'s name ends in _total: "%s_total"', name))
  elseif kind == "gauge" and find(name, "_total$") then
    ctx:warn("by custom of Prometheus only a counter's name ends in _total")
  end
  model.metrics[#model.metrics + 1] = {
    name = name, help = options.help or "", labels = options.labels or {}, is_gauge = kind == "gauge",
    line = declaration.line, record = declaration.value,
  }
end

local function check_shared(ctx, model, declaration)
  ctx:begin(declaration)
  local options = ctx:fields(schema.shared, declaration.options)
  if #declaration.name > 128 or find(declaration.name, "%c") then
    ctx:fail("a name has at most 128 characters, none of them control characters")
  end
  model.shared[#model.shared + 1] = {
    name = declaration.name, max_entries = options.max_entries, ttl = options.ttl or 0, line = declaration.line,
    record = declaration.value,
  }
end

local function check_kept(ctx, model)
  for _, kind in ipairs { "counter", "gauge" } do
    each_declared(ctx.session, kind, function(declaration)
      check_metric(ctx, model, declaration, kind)
    end)
  end
  each_declared(ctx.session, "shared", function(declaration)
    check_shared(ctx, model, declaration)
  end)
end

-- Tests -----------------------------------------------------------------------------------------------------

local function listener_addresses(model)
  local names = {}
  for _, listener in ipairs(model.listens) do
    for _, address in ipairs(listener.addresses) do
      names[#names + 1] = address
    end
  end
  return names
end

local function check_listener(ctx, model, address)
  local names = listener_addresses(model)
  for _, name in ipairs(names) do
    if name == address then
      return
    end
  end
  ctx:at("listener", function()
    ctx:fail(format("nothing listens on %s%s", units.show(address), suggest.hint(address, names)))
  end)
end

local function test(ctx, model, declaration, known)
  local first = known[declaration.name]
  if first then
    ctx:fail(ctx:twice("declared", first))
  end
  known[declaration.name] = declaration.line
  local options = ctx:fields(schema.test, declaration.options)
  if declaration.options.send == nil and not options.silent and not options.eof then
    ctx:fail("send is missing (or silent = true, for a client that says nothing)")
  end
  if options.transport == "udp" and (options.eof or options.silent) then
    ctx:fail("silent and eof are about connections; UDP has none")
  end
  if options.listener then
    check_listener(ctx, model, options.listener)
  end
  return { declaration = declaration, options = options }
end

local function check_tests(ctx, model)
  local known = {}
  each_declared(ctx.session, "test", function(declaration)
    ctx:begin(declaration)
    model.tests[#model.tests + 1] = test(ctx, model, declaration, known)
  end)
end

-- Advice ----------------------------------------------------------------------------------------------------

-- The option's own line in the file, or the flag when the command line said it.
local function advise(ctx, listener, key, flag, text)
  if flag then
    ctx.report:warn(nil, format("--%s: %s", flag, text))
    return
  end
  ctx:begin(listener.declaration)
  ctx:at(key, function() ctx:warn(text) end)
end

local function check_limits(ctx, model, listener)
  local options = listener.options
  local per_ip = options.max_connections_per_ip
  if options.peek_timeout and options.peek_timeout > PEEK_TIMEOUT_HIGH then
    advise(ctx, listener, "peek_timeout", listener.is_peek_timeout_typed and "peek-timeout" or nil,
      format("%s is long: a client that says nothing holds its connection for that time (more than %s invites abuse)",
        units.print_duration(options.peek_timeout), units.print_duration(PEEK_TIMEOUT_HIGH)))
  end
  if not per_ip then
    return
  elseif options.max_connections and per_ip >= options.max_connections then
    advise(ctx, listener, "max_connections_per_ip", nil,
      format("one client may take all %d connections of this listener", options.max_connections))
  elseif model.server.max_connections and per_ip >= model.server.max_connections then
    advise(ctx, listener, "max_connections_per_ip", nil,
      format("one client may take all %d connections of the server", model.server.max_connections))
  elseif per_ip > PER_IP_HIGH then
    advise(ctx, listener, "max_connections_per_ip", nil,
      format("%d is high: more than %d invites abuse", per_ip, PER_IP_HIGH))
  end
end

---What a warning has to say must be said after the command line had its word.
function M.advise(ctx, model)
  for _, listener in ipairs(model.listens) do
    check_limits(ctx, model, listener)
  end
end

-- One transport only ----------------------------------------------------------------------------------------

local function speaks(proto, transport)
  local own = proto and builtin.transport_of(proto) or "both"
  return own == "both" or own == transport
end

local function keep(list, predicate)
  local out = {}
  for _, item in ipairs(list) do
    if predicate(item) then
      out[#out + 1] = item
    end
  end
  return out
end

---`refractium tcp` and `refractium udp`: the other transport's routes, fallbacks and tests are left out, and
---listeners that are left with nothing.
function M.restrict(ctx, model, only)
  if only ~= "tcp" and only ~= "udp" then
    return
  end
  local other = only == "tcp" and "fallback_udp" or "fallback_tcp"
  local mine = "fallback_" .. only
  model.server[other] = nil
  for _, listener in ipairs(model.listens) do
    listener.options[other] = nil
    listener.routes = keep(listener.routes, function(r)
      return speaks(r.proto, only) and (not r.transport or r.transport == only)
    end)
    for _, r in ipairs(listener.routes) do
      r.transport = only
    end
  end
  model.listens = keep(model.listens, function(listener)
    return #listener.routes > 0 or listener.options[mine] or model.server[mine]
  end)
  model.tests = keep(model.tests, function(t)
    return t.options.transport == only
  end)
  if #model.listens == 0 and ctx.report.errors == 0 then
    ctx.report:error(nil, format("%s: nothing here is about %s", ctx.report.file, only))
  end
end

---@class rx.Model
---server: fields of schema.server
---protocols: list of { name, transport, within, prefix, patterns, first, is_server_first, samples }
---hooks: list of { name, on_open, on_data, on_close, filter, line }
---pools: list of { name, balance, tries, backends }
---listens: list of { addresses, options, routes = list of { proto, options, index }, declaration }
---tests: list of { options, declaration }
---metrics: list of { name, help, labels, is_gauge, record }
---shared: list of { name, max_entries, ttl, record }
---sessions: list of { name, options }; tails: list of { path, options }
---A target is { kind = "pool", pool = ... } or { kind = action, text = ... }.

function M.context(session, link, report, locate)
  return setmetatable({
    session = session, link = link, report = report, locate = locate, path = {}, declaration = { title = "" },
    pools = {}, pool_by_name = {}, anonymous = {},
  }, context)
end

---@return rx.Model
function M.run(ctx, rules, cli)
  local model = {
    server = {}, protocols = {}, pools = {}, hooks = {}, listens = {}, tests = {}, metrics = {}, shared = {},
  }
  for name, v in next, defaults(schema.server) do
    model.server[name] = v
  end
  ctx.has_rules = #rules > 0
  ctx.pools = model.pools
  check_protocols(ctx, model)
  check_pools(ctx, model)
  check_hooks(ctx, model)
  sessions.check(ctx, model)
  check_server(ctx, model)
  check_listens(ctx, model)
  check_kept(ctx, model)
  check_tests(ctx, model)
  forward.apply(ctx, model, rules, cli)
  sessions.advise(ctx, model)
  M.advise(ctx, model)
  M.restrict(ctx, model, cli.only)
  return model
end

M.speaks = speaks

return M
