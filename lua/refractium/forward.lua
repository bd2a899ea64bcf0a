-- SPDX-License-Identifier: MIT
-- What the command line says about routes and options.
-- Enters: the table of strings C read from argv, and the model check.lua made of the file. Leaves: the model with
-- -f routes before the file's and the overrides in place. Findings name the flag as it is typed.

local guard = require "refractium.guard"
local kinds = require "refractium.kinds"
local schema = require "refractium.schema"
local units = require "refractium.units"
local builtin = require "refractium.builtin"

local ipairs, setmetatable, tonumber = ipairs, setmetatable, tonumber
local find, format, gmatch, match, sub = string.find, string.format, string.gmatch, string.match, string.sub

local M = {}

local DEFAULT_BIND, DEFAULT_PORT = "0.0.0.0", "8080"
local GRAMMAR = "[tcp:|udp:]PROTO[/NAME]=TARGET[,TARGET...]"
local ADDR_LISTEN, ADDR_TARGET = 0, 1

local function label(text)
  return "-f " .. units.show(text)
end

local function split(text)
  local what, targets = match(text, "^([^=]*)=(.*)$")
  if not what then
    return nil, format('has no "=" (write %s)', GRAMMAR)
  end
  local transport = match(what, "^(tcp):") or match(what, "^(udp):")
  if transport then
    what = sub(what, 5)
  end
  local proto, name = match(what, "^([^/]*)/(.*)$")
  proto = proto or what
  if proto == "" then
    return nil, format("names no protocol (write %s)", GRAMMAR)
  elseif name == "" then
    return nil, 'has nothing after the "/"'
  end
  local rule = { text = text, transport = transport, proto = proto, name = name, targets = {} }
  for target in gmatch(targets, "[^,]+") do
    rule.targets[#rule.targets + 1] = target
  end
  if #rule.targets == 0 or find(targets, ",,", 1, true) or find(targets, "^,") or find(targets, ",$") then
    return nil, #rule.targets == 0 and "names no target" or "has an empty target"
  end
  return rule
end

---Reads all -f rules; what says the same PROTO/NAME twice becomes one rule with the targets of both.
function M.parse(texts, report)
  local rules, by_key = {}, {}
  for _, text in ipairs(texts or {}) do
    local rule, wrong = split(text)
    if not rule then
      report:error(nil, label(text) .. ": " .. wrong)
    else
      local key = (rule.transport or "") .. ":" .. rule.proto .. "/" .. (rule.name or "")
      local first = by_key[key]
      if not first then
        rules[#rules + 1] = rule
        by_key[key] = rule
      else
        for _, target in ipairs(rule.targets) do
          first.targets[#first.targets + 1] = target
        end
      end
    end
  end
  return rules
end

local function backends(ctx, rule)
  local out = {}
  for _, target in ipairs(rule.targets) do
    if kinds.address(ctx, ADDR_TARGET, target) then
      out[#out + 1] = { addr = target, weight = 1, backup = false }
    end
  end
  return out
end

local function can_travel(proto, transport)
  local own = builtin.transport_of(proto)
  return own == "both" or own == transport, own
end

-- A transport in front of a protocol that has both needs the program to tell routes apart by transport.
local function check_transport(ctx, rule, proto)
  if not rule.transport then
    return
  end
  local fits, own = can_travel(proto, rule.transport)
  if not fits then
    ctx:fail(format("%s is spoken over %s only", rule.proto, own))
  elseif own == "both" and not ctx.link.has("rx_route_spec", "transport") then
    ctx:fail(format("%s cannot be limited to %s in this version", rule.proto, rule.transport))
  end
end

local function route(ctx, rule, index)
  ctx:begin { title = label(rule.text) }
  local proto = ctx.session.protocols[rule.proto]
  if not proto then
    ctx:fail(ctx.session:no_protocol(rule.proto, false))
    return nil
  end
  check_transport(ctx, rule, proto)
  local options = { to = { kind = "pool", pool = { backends = backends(ctx, rule), tries = 0 } }, priority = "both" }
  if rule.name then
    local fact = proto.is_builtin and builtin.name_fact(proto.name)
    if fact then
      options[fact] = kinds.texts(ctx, schema.route.by_name[fact], rule.name)
    else
      ctx:fail(format("%s has no name to match", rule.proto))
    end
  end
  return { proto = proto, options = options, index = index, where = label(rule.text), transport = rule.transport }
end

local function add_routes(ctx, model, rules)
  local routes = {}
  for _, rule in ipairs(rules) do
    routes[#routes + 1] = route(ctx, rule, #routes + 1)
  end
  for _, listener in ipairs(model.listens) do
    local all = {}
    for i, r in ipairs(routes) do
      all[i] = r
    end
    for _, r in ipairs(listener.routes) do
      all[#all + 1] = r
    end
    listener.routes = all
  end
end

-- Where to listen -------------------------------------------------------------------------------------------

local function is_ipv6(host)
  return find(host, ":", 1, true) and sub(host, 1, 1) ~= "["
end

local function join(bind, port)
  if sub(bind, 1, 5) == "unix:" then
    return bind
  end
  return (is_ipv6(bind) and "[" .. bind .. "]" or bind) .. ":" .. port
end

local function own_listener(ctx, cli)
  local address = join(cli.bind or DEFAULT_BIND, cli.port or DEFAULT_PORT)
  local title = format("--bind %s --port %s", cli.bind or DEFAULT_BIND, cli.port or DEFAULT_PORT)
  ctx:begin { title = title }
  kinds.address(ctx, ADDR_LISTEN, address)
  local options = ctx:fields(schema.listen, {})
  local declaration = { title = title }
  return { addresses = { address }, options = options, routes = {}, where = "command line", declaration = declaration }
end

-- An address of the file with what was typed put in its place; nil when there is no such place.
local function replaced(ctx, address, cli)
  local host, port = match(address, "^(.*):([%d%-]+)$")
  if not host or sub(address, 1, 5) == "unix:" then
    if cli.explicit.bind and cli.explicit.port then
      return join(cli.bind, cli.port)
    end
    ctx:fail(format('cannot be put into the listener "%s"', address))
    return nil
  end
  return join(cli.explicit.bind and cli.bind or host, cli.explicit.port and cli.port or port)
end

local function typed_flags(cli)
  if cli.explicit.bind and cli.explicit.port then
    return "--bind and --port"
  end
  return cli.explicit.bind and "--bind" or "--port"
end

local function override_address(ctx, model, cli)
  if not (cli.explicit and (cli.explicit.bind or cli.explicit.port)) or #model.listens == 0 then
    return
  end
  ctx:begin { title = typed_flags(cli) }
  if #model.listens > 1 then
    ctx:fail(format("%s has %d listeners, and it is not clear which one is meant; edit the file instead",
      ctx.report.file, #model.listens))
    return
  end
  local listener, seen = model.listens[1], {}
  listener.was, listener.now = listener.addresses, {}
  local addresses = {}
  for i, old in ipairs(listener.was) do
    local new = replaced(ctx, old, cli)
    listener.now[i] = new
    if new and not seen[new] and kinds.address(ctx, ADDR_LISTEN, new) then
      seen[new] = true
      addresses[#addresses + 1] = new
    end
  end
  listener.addresses = addresses
end

-- A test that names its listener goes on meaning it.
local function follow_address(model)
  for _, listener in ipairs(model.listens) do
    for i, old in ipairs(listener.was or {}) do
      for _, test in ipairs(model.tests) do
        if test.options.listener == old then
          test.options.listener = listener.now[i]
        end
      end
    end
  end
end

-- Other options ---------------------------------------------------------------------------------------------

-- Numbers arrive as the strings that were typed.
local function typed(text)
  return find(text, "^%-?%d+%.?%d*$") and tonumber(text) or text
end

local function option(ctx, flag, section, name, text)
  if text == nil then
    return nil
  end
  local row = schema[section].by_name[name]
  ctx:begin { title = "--" .. flag }
  local is_number = row.type == "count" or row.type == "workers"
  return kinds[row.type](ctx, row, is_number and typed(text) or text)
end

local function override_options(ctx, model, cli)
  local server = model.server
  server.workers = option(ctx, "workers", "server", "workers", cli.workers) or server.workers
  server.max_connections = option(ctx, "max-connections", "server", "max_connections", cli.max_connections)
    or server.max_connections
  server.log_format = option(ctx, "log-format", "server", "log_format", cli.log_format) or server.log_format
  if cli.record then -- the command's file; how much is kept stays the config's business
    ctx:begin { title = "--output" }
    server.record = server.record or kinds.record(ctx, nil, { file = cli.record }) or {}
    server.record.file = cli.record
  end
  local peek_timeout = option(ctx, "peek-timeout", "listen", "peek_timeout", cli.peek_timeout)
  local peek_buffer = option(ctx, "peek-buffer", "listen", "peek_buffer_size", cli.peek_buffer)
  for _, listener in ipairs(model.listens) do
    if peek_timeout then
      listener.options.peek_timeout = peek_timeout
      listener.is_peek_timeout_typed = true
    end
    listener.options.peek_buffer_size = peek_buffer or listener.options.peek_buffer_size
  end
end

local function port_problem(text)
  local low, high = match(text, "^(%d+)%-?(%d*)$")
  if not low or find(text, "%-$") then
    return true
  end
  low, high = tonumber(low), tonumber(high ~= "" and high or low)
  return low < 1 or high > 65535 or low > high
end

local function check_port(ctx, cli)
  if cli.port and port_problem(cli.port) then
    ctx:begin { title = "--port" }
    ctx:fail(format("must be a port from 1 to 65535, not %s", units.show(cli.port)))
    return setmetatable({ port = DEFAULT_PORT }, { __index = cli })
  end
  return cli
end

---Puts the command line into the model.
function M.apply(ctx, model, rules, cli)
  cli = check_port(ctx, cli)
  if cli.guard then
    guard.apply(ctx, model, cli.guard)
  elseif ctx.is_file_read then
    if #model.listens == 0 and #model.tails == 0 and not ctx.is_cut_short then
      ctx.report:error(nil, format('%s: nothing to listen on (there is no rx.listen)', ctx.report.file))
    end
    override_address(ctx, model, cli)
    follow_address(model)
  else
    model.listens[1] = own_listener(ctx, cli)
  end
  override_options(ctx, model, cli)
  add_routes(ctx, model, rules)
end

return M
