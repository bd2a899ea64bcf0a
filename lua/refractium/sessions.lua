-- SPDX-License-Identifier: MIT
-- rx.sessions and rx.tail: how many addresses an identity may use at once, and logs that tell who is active.
-- Enters: what the config declared. Leaves: models for the build, and after it what core/guard/sessions.h needs.

local schema = require "refractium.schema"
local value = require "refractium.value"

local concat = table.concat
local find, floor, format, ipairs, next, sort, type =
  string.find, math.floor, string.format, ipairs, next, table.sort, type

local M = {}

local NAME_PATTERN, NAME_MAX = "^%w[%w_.-]*$", 63
local ID_MAX, IPS_MAX = 255, 1000
local SCRIPT, XRAY = 0, 1 -- enum rx_tail_kind
local TRANSPORT = { tcp = 1, udp = 2, both = 3 }
local BY, LIMITS, PARSE = 12, 13, 14 -- enum rx_fn_kind

---The value rx.xray.
function M.xray()
  return value.new("parser", { text = "rx.xray", parser = XRAY })
end

-- Types of schema.lua ---------------------------------------------------------------------------------------

---@param kinds table kinds.lua's
function M.add_kinds(kinds)
  local function fail(ctx, text, ...)
    ctx:fail(format(text, ...))
    return nil
  end

  function kinds.sessions(ctx, _, v)
    local record = value.of(v)
    if record and record.kind == "sessions" then
      return record.model
    elseif record and (record.kind == "pending" or record.kind == "unknown") then
      return nil
    end
    return fail(ctx, 'must be what rx.sessions "name" { ... } returned, not %s', kinds.what(v))
  end

  function kinds.line_parser(ctx, _, v)
    local record = value.of(v, "parser")
    if record then
      return { kind = record.parser }
    elseif type(v) == "function" then
      return { kind = SCRIPT, fn = v }
    end
    return fail(ctx, "must be rx.xray or a function, not %s", kinds.what(v))
  end

  function kinds.identities(ctx, _, v)
    return kinds.list(ctx, v, "an identity", function(one)
      if type(one) ~= "string" or one == "" or #one > ID_MAX then
        return fail(ctx, "must be a string of 1 to %d bytes, not %s", ID_MAX, kinds.what(one))
      end
      return one
    end)
  end

  -- A function, or a table of identity = number, as a list in an order that does not depend on the table's.
  function kinds.own_limits(ctx, _, v)
    if type(v) == "function" then
      return { fn = v }
    elseif type(v) ~= "table" or value.of(v) then
      return fail(ctx, 'must be a function or a table like { ["alice"] = 3 }, not %s', kinds.what(v))
    end
    local out = {}
    for id, n in next, v do
      if type(id) ~= "string" or id == "" or #id > ID_MAX then
        return fail(ctx, "%s is no identity: a string of 1 to %d bytes", kinds.what(id), ID_MAX)
      elseif type(n) ~= "number" or floor(n) ~= n or n < 1 or n > IPS_MAX then
        ctx:at(id, function() fail(ctx, "must be a whole number from 1 to %d, not %s", IPS_MAX, kinds.what(n)) end)
      else
        out[#out + 1] = { id = id, n = n }
      end
    end
    sort(out, function(a, b) return a.id < b.id end)
    return out
  end

  function kinds.exempt(ctx, _, v)
    if type(v) ~= "table" or value.of(v) then
      return fail(ctx, 'must be a table like { identities = { "alice" }, networks = { "10.0.0.0/8" } }, not %s',
        kinds.what(v))
    end
    return ctx:fields(schema.exempt, v)
  end

  -- May be empty: then a violator is refused by the program and nothing more.
  function kinds.enforce(ctx, row, v)
    local out = {}
    if type(v) == "table" and not value.of(v) and next(v) == nil then
      return out
    end
    for _, name in ipairs(kinds.list(ctx, v, "a word", function(one) return kinds.choice(ctx, row, one) end) or {}) do
      out[name] = true
    end
    return out
  end
end

-- Judging ---------------------------------------------------------------------------------------------------

local function each(ctx, verb, fn)
  for _, declaration in ipairs(ctx.session.declarations) do
    if declaration.verb == verb then
      ctx:begin(declaration)
      fn(declaration)
    end
  end
end

local function check_name(ctx, known, name, is_path)
  if known[name] then
    ctx:fail(ctx:twice("declared", known[name]))
  elseif not is_path and (#name > NAME_MAX or not find(name, NAME_PATTERN)) then
    ctx:fail(format("a name has at most %d letters, digits, _, - and ., and begins with a letter or digit", NAME_MAX))
  elseif find(name, "\0", 1, true) then
    ctx:fail "a path holds no NUL byte"
  end
  known[name] = known[name] or ctx.declaration.line or 0
end

---Before the routes, which name them.
function M.check(ctx, model)
  local known = {}
  model.sessions, model.tails = {}, {}
  each(ctx, "sessions", function(declaration)
    check_name(ctx, known, declaration.name)
    local s = { name = declaration.name, line = declaration.line, declaration = declaration,
      options = ctx:fields(schema.sessions, declaration.options) }
    declaration.value.model = s
    local enforce = s.options.enforce or {}
    local kernel = enforce.nftables and "nftables" or enforce.kill and "kill" or enforce.conntrack and "conntrack"
    if kernel and not s.options.dport and not declaration.options.dport then
      ctx:at("enforce", function() ctx:fail(kernel .. " needs dport: the ports that are closed to who is put out") end)
    elseif s.options.dport and not kernel then
      ctx:at("dport", function() ctx:fail 'is about enforce = { "nftables", "kill", "conntrack" }' end)
    elseif enforce.kill and s.options.proto == "udp" then
      ctx:at("enforce", function() ctx:fail 'kill closes TCP connections, and proto = "udp" leaves none' end)
    elseif enforce.conntrack and s.options.proto == "tcp" then
      ctx:at("enforce", function() ctx:fail 'conntrack forgets UDP flows, and proto = "tcp" leaves none' end)
    end
    model.sessions[#model.sessions + 1] = s
  end)
  local paths = {}
  each(ctx, "tail", function(declaration)
    check_name(ctx, paths, declaration.name, true)
    local options = ctx:fields(schema.tail, declaration.options)
    if options.sessions then
      options.sessions.is_used = true
    end
    model.tails[#model.tails + 1] = { path = declaration.name, line = declaration.line, options = options }
  end)
end

---After the server's options: one Redis for a process.
function M.share(ctx, model)
  local store = model.server.store
  for _, s in ipairs(model.sessions) do
    local own = s.options.store
    if own and store and own ~= store then
      ctx:begin(s.declaration)
      ctx:at("store", function() ctx:fail "is another one than elsewhere: all that is shared is in one Redis" end)
    end
    store = store or own or nil
    s.is_shared = own ~= false and (own or model.server.store) and true or false
  end
  model.store = store
end

---A route has named them.
function M.use(ctx, sessions)
  sessions.is_used = true
  if not sessions.options.by then
    ctx:at("sessions", function()
      ctx:fail(format('rx.sessions "%s" has no `by`: nothing says who a connection is', sessions.name))
    end)
  end
end

---After the routes.
function M.advise(ctx, model)
  for _, s in ipairs(model.sessions) do
    if not s.is_used then
      ctx:begin(s.declaration)
      ctx:warn "is used by no route and no rx.tail"
    end
  end
end

-- Building --------------------------------------------------------------------------------------------------

-- Bits of core/guard/kernel.h.
local function kernel_of(enforce)
  return (enforce.nftables and 1 or 0) + (enforce.kill and 2 or 0) + (enforce.conntrack and 4 or 0)
end

local function sessions(state, s, b)
  local o, what, link = s.options, format('sessions "%s"', s.name), state.link
  local by = b.fn_id(state, BY, o.by, s.line, what .. ".by")
  local limits = b.fn_id(state, LIMITS, o.limits and o.limits.fn, s.line, what .. ".limits")
  local id = link.sessions_new {
    name = s.name, where = b.place(state, s.line), by = by, limits = limits, max_ips = o.max_ips,
    max_identities = o.max_identities, ipv6_prefix = o.ipv6_prefix, window_ms = o.window, timeout_ms = o.timeout,
    is_last_kept = o.keep == "last", has_ban = not o.enforce or o.enforce.ban or false,
    kernel = kernel_of(o.enforce or {}), ports = concat(o.dport or {}, ", "),
    transport = TRANSPORT[o.proto], is_dry = o.dry_run,
    is_shared = s.is_shared, block_log = o.block_log or "", is_log_json = o.block_log_format == "json",
  }
  s.id = b.id_or_report(state, id, s.line, what)
  if not s.id then
    return
  end
  local function must(answer)
    b.id_or_report(state, answer, s.line, what)
  end
  for _, own in ipairs(o.limits or {}) do
    must(link.sessions_limit(s.id, own.n, own.id))
  end
  for _, identity in ipairs(o.exempt and o.exempt.identities or {}) do
    must(link.sessions_limit(s.id, 0, identity))
  end
  for _, network in ipairs(o.exempt and o.exempt.networks or {}) do
    must(link.sessions_exempt(s.id, network))
  end
end

---@param b table build.lua's helpers
function M.build(state, model, b)
  for _, s in ipairs(model.sessions or {}) do
    sessions(state, s, b)
  end
  for _, t in ipairs(model.tails or {}) do
    local what, parse = format('tail "%s"', t.path), t.options.parse
    local fn = b.fn_id(state, PARSE, parse.fn, t.line, what .. ".parse")
    local id = state.link.tail_new {
      path = t.path, where = b.place(state, t.line), kind = parse.kind, parse = fn,
      sessions = t.options.sessions.id or -1,
    }
    b.id_or_report(state, id, t.line, what)
  end
end

-- Functions -------------------------------------------------------------------------------------------------

-- What dispatch.lua's wrappers judge answers with.
function M.judges(where, what)
  local error = error
  local out = {}
  function out.identity(v)
    if type(v) == "number" then
      v = format("%.14g", v)
    elseif type(v) ~= "string" then
      error(format("%s: by must return a string, a number or nil; got %s", where, what(v)), 0)
    end
    if #v > ID_MAX then
      error(format("%s: an identity has at most %d bytes; got %d", where, ID_MAX, #v), 0)
    end
    return v
  end
  function out.limit(v)
    if type(v) == "number" and v >= 1 and v <= IPS_MAX and floor(v) == v then
      return v
    end
    error(format("%s: limits must return a whole number from 1 to %d, or nil; got %s", where, IPS_MAX, what(v)), 0)
  end
  function out.said(id, ip, transport)
    if type(id) ~= "string" or id == "" or #id > ID_MAX then
      error(format("%s: parse must return an identity of 1 to %d bytes first; got %s", where, ID_MAX, what(id)), 0)
    elseif type(ip) ~= "string" then
      error(format("%s: parse must return an address second; got %s", where, what(ip)), 0)
    elseif transport ~= nil and transport ~= "tcp" and transport ~= "udp" then
      error(format('%s: parse may return "tcp" or "udp" third; got %s', where, what(transport)), 0)
    end
  end
  return out
end

return M
