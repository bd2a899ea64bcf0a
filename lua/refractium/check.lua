-- SPDX-License-Identifier: MIT
-- Validation: from what the config declared to a model that can be built.
-- Enters: a session (init.lua), the rules of the command line (forward.lua), a link to the program. Leaves: the
-- model, a plain table described at M.run, complete only when the report holds no error.
--
-- Everything is looked at once, every finding is reported, and a value that is wrong is simply absent from the
-- model. Lines are looked up only for findings.

local builtin = require "refractium.builtin"
local check_route = require "refractium.check_route"
local context = require "refractium.context"
local forward = require "refractium.forward"
local kinds = require "refractium.kinds"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local suggest = require "refractium.suggest"
local units = require "refractium.units"

local find, format, ipairs, next, type = string.find, string.format, ipairs, next, type

local ADDR_LISTEN = 0
local PEEK_TIMEOUT_HIGH, PER_IP_HIGH = 5000, 200 -- beyond these a warning, as the predecessors gave

local M = {}

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
    check_route.check(ctx, out, options.routes)
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
---@return rx.Model
function M.run(ctx, rules, cli)
  local model = {
    server = {}, protocols = {}, pools = {}, hooks = {}, listens = {}, tests = {}, metrics = {}, shared = {},
  }
  for name, v in next, context.defaults(schema.server) do
    model.server[name] = v
  end
  ctx.has_rules = #rules > 0
  ctx.pools = model.pools
  check_protocols(ctx, model)
  check_pools(ctx, model)
  check_hooks(ctx, model)
  sessions.check(ctx, model)
  check_server(ctx, model)
  sessions.share(ctx, model)
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
