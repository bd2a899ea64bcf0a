-- SPDX-License-Identifier: MIT
-- From a model to the program: one builder call for each thing in it.
-- Enters: a model check.lua found no fault with. Leaves: the builds' ids inside C; what a builder refuses (a name
-- that does not resolve, a limit of the program) is reported at the line of the thing.
-- The numbers below are those of core/abi.h.

local context = require "refractium.context"
local dispatch = require "refractium.dispatch"
local hook = require "refractium.hook"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local units = require "refractium.units"

local ipairs = ipairs
local concat, format = table.concat, string.format

local M = {}

local TARGET = {
  none = 0, pool = 1, refuse = 2, drop = 3, tarpit = 4, respond = 5, describe = 6, echo = 7, script = 8,
}
local TRANSPORT = { tcp = 1, udp = 2, both = 3 }
local PRIORITY = { both = 0, latency = 1, throughput = 2 }
local BALANCE = {
  round_robin = 0, least_conn = 1, random = 2, p2c = 3, source_ip = 4, source_socket = 5, maglev = 6, first = 7,
}
local LOG_FORMAT = { auto = 0, text = 1, json = 2 }
local COND = {
  SNI = 0, HOST = 1, QNAME = 2, ALPN = 3, PATH = 4, METHOD = 5, SOFTWARE = 6, FROM = 7, NOT_FROM = 8, TO_PORT = 9,
  QTYPE = 10, KEY = 11, DURING = 12,
}
local NO_RATE = { count = 0, per_ms = 0, burst = 0 }
local NOTHING = { kind = TARGET.none, pool = -1, text = "" }

-- state: { link, report, locate, pools = model pool → id, protos = name → id, hooks = model hook → id, functions }

-- A builder's answer: the id, or nil after its words were reported.
local function id_or_report(state, id, line, what)
  if id >= 0 then
    return id
  end
  state.report:error(line, format("%s: %s", what, state.link.error()))
  return nil
end

local function place(state, line, fallback)
  return line and state.report.sources:text(line) or fallback or ""
end

local function warn_of_new(state, fn, what)
  local line = dispatch.line_of_new(fn)
  local at = line and state.report.sources:of_function(fn, line)
  if at then
    state.report:warn(at, format("%s: creates a function on every call: move it out", what))
  end
end

-- The number of a function, 0 for none. The order of these calls is what makes the numbers the same in every state.
local function fn_id(state, kind, fn, line, what, samples)
  if not fn then
    return 0
  end
  local where = place(state, state.report.sources:of_function(fn), place(state, line))
  local id = id_or_report(state, state.link.fn_new(kind, where), line, what)
  if id and not state.is_collecting then
    warn_of_new(state, fn, what)
    state.link.fn_text(id, state.report.sources:text_of_function(fn))
  end
  state.functions[#state.functions + 1] = { kind = kind, fn = fn, where = where, samples = samples }
  return id or 0
end

local function add_backend(state, id, backend, line, what)
  local spec = { addr = backend.addr, weight = backend.weight, is_backup = backend.backup,
    max_connections = backend.max_connections or 0 }
  id_or_report(state, state.link.pool_backend(id, spec), line, what)
end

local CHECK = { tcp = 0, tls = 1, http = 2, https = 3, udp = 4 }

local function health(state, id, h, line, what)
  what = what .. ".health"
  local expect = h.expect or { texts = {} }
  local answer = state.link.pool_health(id, {
    kind = CHECK[h.check], every_ms = h.every, timeout_ms = h.timeout, rise = h.rise, fall = h.fall, port = h.port or 0,
    is_verified = h.verify, sni = h.sni or "", host = h.host or "", path = h.path, method = h.method,
    send = h.send or "", expect = fn_id(state, dispatch.EXPECT, expect.fn, line, what .. ".expect"),
  })
  if not id_or_report(state, answer, line, what) then
    return
  end
  for _, range in ipairs(h.status or {}) do
    id_or_report(state, state.link.pool_health_status(id, range.low, range.high), line, what .. ".status")
  end
  for _, text in ipairs(expect.texts) do
    id_or_report(state, state.link.pool_health_expect(id, text), line, what .. ".expect")
  end
end

-- Pools without a name have the options nobody gave.
local pool_rows = schema.pool.by_name
local DEFAULT_OPTIONS =
  { eject_after = pool_rows.eject_after.default, eject_time = units.duration(pool_rows.eject_time.default) }

-- Pools without a name are made where a route first needs them.
local function pool_id(state, pool, line, what)
  local id = state.pools[pool]
  if id == nil then
    local balance = BALANCE[pool.balance or "round_robin"]
    local policy = fn_id(state, dispatch.POLICY, pool.policy, line, what)
    local o = pool.options or DEFAULT_OPTIONS
    id = state.link.pool_new {
      name = pool.name or "", balance = balance, tries = pool.tries, policy = policy, slow_start_ms = o.slow_start or 0,
      eject_after = o.eject_after, eject_ms = o.eject_time,
      send_proxy = o.send_proxy or 0, keepalive_ms = o.keepalive or 0, user_timeout_ms = o.user_timeout or 0,
      mark = o.mark or 0, congestion = o.congestion or "", interface = o.interface or "",
      ttl_min_ms = o.ttl and o.ttl.min or 0, ttl_max_ms = o.ttl and o.ttl.max or 0,
    }
    id = id_or_report(state, id, line, what) or false
    state.pools[pool] = id
    for _, source in ipairs(id and o.source or {}) do
      id_or_report(state, state.link.pool_source(id, source), line, what .. ".source")
    end
    for _, backend in ipairs(id and pool.backends or {}) do
      add_backend(state, id, backend, line, what)
    end
    if id and o.health then
      health(state, id, o.health, line, what)
    end
  end
  return id or -1
end

local function target(state, t, line, what)
  if not t then
    return NOTHING
  elseif t.kind == "pool" then
    return { kind = TARGET.pool, pool = pool_id(state, t.pool, line, what), text = "" }
  elseif t.kind == "script" then
    return { kind = TARGET.script, pool = fn_id(state, dispatch.TO, t.fn, line, what), text = "" }
  end
  return { kind = TARGET[t.kind], pool = -1, text = t.text or "" }
end

-- Hooks that rx.hook made are built first, in order; those written as keys where they stand.
local function hook_id(state, h, what)
  local id = state.hooks[h]
  if id == nil then
    local function fn(kind, key)
      return fn_id(state, kind, h[key], h.line, format("%s.%s", what, key))
    end
    id = state.link.hook_new {
      name = h.name, where = place(state, h.line),
      on_open = fn(dispatch.OPEN, "on_open"), on_data = fn(dispatch.DATA, "on_data"),
      on_close = fn(dispatch.CLOSE, "on_close"), filter = fn(dispatch.FILTER, "filter"),
    }
    id = id_or_report(state, id, h.line, what) or false
    state.hooks[h] = id
  end
  return id
end

local HOOK_SCOPE = { server = 0, listen = 1, route = 2 }

local function use_hooks(state, scope, owner, options, name, line)
  for _, h in ipairs(hook.of(options, name, line)) do
    local id = hook_id(state, h, name)
    if id then
      local answer = state.link.hook_use { scope = HOOK_SCOPE[scope], owner = owner, hook = id }
      id_or_report(state, answer, line, name)
    end
  end
end

-- rx.every and rx.file.
local function timers_and_files(state, session)
  for _, timer in ipairs(session.timers or {}) do
    local fn = fn_id(state, dispatch.EVERY, timer.fn, timer.line, "rx.every")
    id_or_report(state, state.link.timer_new(fn, timer.every_ms), timer.line, "rx.every")
  end
  for _, file in ipairs(session.files or {}) do
    local spec = { path = file.path, where = place(state, file.line), max_bytes = file.max_bytes }
    id_or_report(state, state.link.file_new(spec), file.line, "rx.file")
  end
end

local LOG_TO = { stderr = 0, journal = 1, syslog = 2 }

local function log_to(v)
  return LOG_TO[v] or 3, LOG_TO[v] and "" or v
end

local ACCESS_TO = { journal = 4, syslog = 5 }

local function access_log(v)
  if v == nil then
    return 0, ""
  elseif v == false then
    return 1, ""
  elseif v == true then
    return 2, ""
  elseif ACCESS_TO[v] then
    return ACCESS_TO[v], ""
  end
  return 3, v
end

local function server(state, model)
  local s, line = model.server, model.server_declaration and model.server_declaration.line
  local kind, file = access_log(s.access_log)
  local log, log_file = log_to(s.log)
  local record = s.record or context.defaults(schema.record)
  local answer = state.link.server_set {
    workers = s.workers, max_connections = s.max_connections, max_sessions = s.max_sessions,
    drain_ms = s.drain_timeout, upgrade_ms = s.upgrade_timeout, hot_reload = s.hot_reload,
    canary_ppm = s.canary and s.canary.share or 0, canary_ms = s.canary and s.canary.watch or 0,
    script_budget_ms = s.script_budget, is_admin_off = s.admin == false, admin = s.admin or "",
    connection_rate = s.connection_rate or NO_RATE, rate_per_ip = s.rate_per_ip or NO_RATE,
    over_limit = TARGET[s.over_limit or "none"],
    metrics = s.metrics or "", metrics_token = s.metrics_token or "", metrics_host = s.metrics_host or "",
    access_log = kind, access_log_file = file, access_log_ppm = s.access_log_sample,
    log = log, log_file = log_file, user = s.user or "", group = s.group or "",
    chroot = s.chroot or "", sandbox = s.sandbox == "strict" and 2 or s.sandbox and 1 or 0,
    log_format = LOG_FORMAT[s.log_format],
    record_file = record.file or "", record_max = record.max_size, record_ppm = record.sample,
    record_bytes = record.bytes,
    resolver = s.resolver or "", store = model.store or "",
    fallback_tcp = target(state, s.fallback_tcp, line, "server.fallback_tcp"),
    fallback_udp = target(state, s.fallback_udp, line, "server.fallback_udp"),
  }
  id_or_report(state, answer, line, "server")
  use_hooks(state, "server", -1, s, "server", line)
end

local function protocol(state, p)
  local link, what = state.link, format('protocol "%s"', p.name)
  local function must(answer)
    id_or_report(state, answer, p.line, what)
  end
  local samples = {}
  for _, list in ipairs { p.samples.yes or {}, p.samples.no or {} } do
    for _, bytes in ipairs(list) do
      samples[#samples + 1] = bytes
    end
  end
  local identify = fn_id(state, dispatch.IDENTIFY, p.identify, p.line, what, samples)
  local id = link.proto_new {
    name = p.name, transport = TRANSPORT[p.transport], within = p.within, identify = identify,
    is_server_first = p.is_server_first,
  }
  id = id_or_report(state, id, p.line, what)
  if not id then
    return
  end
  state.protos[p.name] = id
  for _, bytes in ipairs(p.prefix) do
    must(link.proto_prefix(id, bytes))
  end
  for _, bytes in ipairs(p.patterns) do
    must(link.proto_pattern(id, bytes))
  end
  for _, range in ipairs(p.first) do
    must(link.proto_first(id, range.low, range.high))
  end
  for _, bytes in ipairs(p.samples.yes or {}) do
    must(link.proto_sample(id, 1, bytes))
  end
  for _, bytes in ipairs(p.samples.no or {}) do
    must(link.proto_sample(id, 0, bytes))
  end
end

local function proto_id(state, name, line, what)
  local id = state.protos[name]
  if id == nil then
    id = id_or_report(state, state.link.proto_builtin(name), line, what) or false
    state.protos[name] = id
  end
  return id or -1
end

-- The schema's order, so that the same config always builds the same way.
local function conditions(state, id, options, line, what)
  for _, row in ipairs(schema.route) do
    for _, text in ipairs(row.cond and options[row.name] or {}) do
      id_or_report(state, state.link.route_cond(id, COND[row.cond], text), line, what .. "." .. row.name)
    end
  end
end

local ECH = { [true] = 1, [false] = 2 }

local function route_new(state, listen_id, r, line, what, made)
  local o = r.options
  local id = state.link.route_new(listen_id, {
    where = r.where or place(state, line), name = o.name or "", proto = proto_id(state, r.proto.name, line, what),
    priority = PRIORITY[o.priority], ech = o.ech ~= nil and ECH[o.ech] or 0,
    transport = r.transport and TRANSPORT[r.transport] or 0,
    idle_ms = o.idle_timeout or 0, connect_ms = o.connect_timeout or 0, max_connections = o.max_connections or 0,
    when = made.when, rate = o.rate or 0, rate_total = o.rate_total or 0, send_proxy = o.send_proxy or 0,
    sessions = o.sessions and o.sessions.id and o.sessions.id + 1 or 0,
    is_transparent = o.transparent, is_eager = o.eager,
    to = made.to, fallback = made.fallback, mirror = made.mirror,
  })
  return id_or_report(state, id, line, what)
end

-- Of a route only its functions and pools are numbered.
local function route(state, listener, listen_id, r, line)
  local o = r.options
  local what = r.where or format("%s.routes[%d]", listener.title, r.index)
  local made = {
    when = fn_id(state, dispatch.WHEN, o.when, line, what .. ".when"),
    to = target(state, o.to, line, what .. ".to"),
    fallback = target(state, o.fallback, line, what .. ".fallback"),
    mirror = target(state, o.mirror, line, what .. ".mirror"),
  }
  local id = state.is_collecting and 0 or route_new(state, listen_id, r, line, what, made)
  if id then
    if not state.is_collecting then
      conditions(state, id, o, line, what)
    end
    use_hooks(state, "route", id, o, what, line)
  end
end

local function listen(state, listener)
  local o, line = listener.options, listener.declaration.line
  listener.title = listener.declaration.title or format('listen "%s"', listener.addresses[1])
  local on_accept = fn_id(state, dispatch.ACCEPT, o.on_accept, line, listener.title .. ".on_accept")
  local identify = fn_id(state, dispatch.LISTEN, o.identify, line, listener.title .. ".identify")
  local id = state.link.listen_new {
    on_accept = on_accept, identify = identify,
    where = place(state, line, listener.where),
    max_connections = o.max_connections or 0, max_connections_per_ip = o.max_connections_per_ip or 0,
    max_sessions = o.max_sessions or 0, max_sessions_per_ip = o.max_sessions_per_ip or 0,
    udp_idle_ms = o.udp_idle_timeout or 0,
    ipv6_prefix = o.ipv6_prefix, peek_ms = o.peek_timeout, peek_bytes = o.peek_buffer_size,
    connection_rate = o.connection_rate or NO_RATE, rate_per_ip = o.rate_per_ip or NO_RATE,
    over_limit = TARGET[o.over_limit or "none"],
    backlog = o.backlog or 0, fast_open = o.fast_open or 0, keepalive_ms = o.keepalive or 0,
    user_timeout_ms = o.user_timeout or 0, mark = o.mark or 0, congestion = o.congestion or "",
    interface = o.interface or "",
    max_pending = o.max_pending or 0, connect_ms = o.connect_timeout, idle_ms = o.idle_timeout,
    fallback_tcp = target(state, o.fallback_tcp, line, listener.title .. ".fallback_tcp"),
    fallback_udp = target(state, o.fallback_udp, line, listener.title .. ".fallback_udp"),
  }
  id = id_or_report(state, id, line, listener.title)
  if not id then
    return
  end
  for _, address in ipairs(listener.addresses) do
    id_or_report(state, state.link.listen_bind(id, address), line, listener.title)
  end
  for _, from in ipairs(o.proxy_protocol and o.proxy_protocol.from or {}) do
    id_or_report(state, state.link.listen_proxy(id, from), line, listener.title)
  end
  use_hooks(state, "listen", id, o, listener.title, line)
  local has_lines = line and state.locate and not state.is_collecting
  local lines = has_lines and state.locate:entries(listener.declaration, { "routes" }) or {}
  for _, r in ipairs(listener.routes) do
    route(state, listener, id, r, not r.where and (lines[r.index] or line) or nil)
  end
end

local function test(state, t)
  local o, declaration = t.options, t.declaration
  local what = format('test "%s"', declaration.name)
  local expect = o.expect
  local id = state.link.test_new {
    name = declaration.name, where = place(state, declaration.line), from = o.from or "", at = o.at or "",
    listener = o.listener or "",
    transport = TRANSPORT[o.transport], is_silent = o.silent, is_eof = o.eof,
    protocol = expect.protocol or "", to = expect.to or "", route = expect.route or "", reason = expect.reason or "",
    expect_more = expect.more,
  }
  id = id_or_report(state, id, declaration.line, what)
  for _, bytes in ipairs(id and o.send or {}) do
    id_or_report(state, state.link.test_send(id, bytes), declaration.line, what)
  end
end

-- Functions know metrics and tables by their numbers, which the records of their values carry.
local function kept(state, model)
  for _, m in ipairs(model.metrics or {}) do
    local what = format('%s "%s"', m.is_gauge and "gauge" or "counter", m.name)
    local id = state.link.metric_new {
      name = m.name, help = m.help, labels = concat(m.labels, ","), is_gauge = m.is_gauge,
    }
    m.record.id, m.record.n_labels = id_or_report(state, id, m.line, what), #m.labels
  end
  for _, s in ipairs(model.shared or {}) do
    local id = state.link.shared_new { name = s.name, max_entries = s.max_entries, ttl_ms = s.ttl }
    s.record.id = id_or_report(state, id, s.line, format('shared "%s"', s.name))
  end
end

---Builds everything; the report tells whether it went well.
---@return table functions number → { kind, fn, where, samples }
---@return table pools pool of the model → its number
function M.run(link, report, model, locate, session)
  local state = {
    link = link, report = report, locate = locate, pools = {}, protos = {}, hooks = {}, functions = {},
    is_collecting = session and session.is_quiet,
  }
  kept(state, model)
  for _, p in ipairs(model.protocols) do
    protocol(state, p)
  end
  for _, pool in ipairs(model.pools) do
    pool_id(state, pool, pool.line, format('pool "%s"', pool.name))
  end
  for _, h in ipairs(model.hooks) do
    hook_id(state, h, format('hook "%s"', h.name))
  end
  server(state, model)
  sessions.build(state, model, { fn_id = fn_id, id_or_report = id_or_report, place = place })
  for _, listener in ipairs(model.listens) do
    listen(state, listener)
  end
  for _, t in ipairs(model.tests) do
    test(state, t)
  end
  timers_and_files(state, session)
  return state.functions, state.pools
end

return M
