-- SPDX-License-Identifier: MIT
-- Validation of a listener's routes.

local builtin = require "refractium.builtin"
local kinds = require "refractium.kinds"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local value = require "refractium.value"

local floor, ipairs, rawget, type = math.floor, ipairs, rawget, type
local concat, format, next = table.concat, string.format, next

local M = {}

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

---Adds what the entries mean to listen.routes.
function M.check(ctx, listen, list)
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

return M
