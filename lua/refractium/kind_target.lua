-- SPDX-License-Identifier: MIT
-- Types of schema.lua: targets, addresses, and what a test expects of them.

local kind = require "refractium.kind"
local schema = require "refractium.schema"
local suggest = require "refractium.suggest"
local value = require "refractium.value"

local concat, find, format, ipairs, match, next, tonumber, type =
  table.concat, string.find, string.format, ipairs, string.match, next, tonumber, type

local fail, is_integer, list, show, what = kind.fail, kind.is_integer, kind.list, kind.show, kind.what
local ADDR_LISTEN, ADDR_TARGET, ADDR_CIDR = 0, 1, 2

local M = {}

---@param of integer ADDR_*
---@return string? the address, after the door has read it
function M.address(ctx, of, text)
  if ctx.link.addr_check(of, text) ~= 0 then
    return fail(ctx, "%s is no address: %s", show(text), ctx.link.error())
  end
  return text
end

local function pool_names(ctx)
  local names = {}
  for _, pool in ipairs(ctx.pools) do
    names[#names + 1] = pool.name
  end
  return names
end

-- A word without a port can only be meant as a pool.
local function looks_like_name(text)
  return not find(text, ":", 1, true) and not find(text, "^[%d.]+$") and not find(text, "%s")
end

local function unknown_pool(ctx, text)
  for _, action in ipairs(schema.actions) do
    if action.name == text then
      return fail(ctx, 'no pool named %s (the action is written without quotes: rx.%s)', show(text), text)
    end
  end
  local hint = suggest.hint(text, pool_names(ctx))
  return fail(ctx, "no pool named %s%s", show(text), hint ~= "" and hint or ' (an address has a port: "host:80")')
end

local function target_from_text(ctx, text)
  local pool = ctx.pool_by_name[text]
  if pool then
    return { kind = "pool", pool = pool }
  end
  local known = ctx.anonymous[text]
  if known then
    return known
  elseif looks_like_name(text) then
    return unknown_pool(ctx, text)
  elseif not M.address(ctx, ADDR_TARGET, text) then
    return nil
  end
  known = { kind = "pool", pool = { backends = { { addr = text, weight = 1, backup = false } }, tries = 0 } }
  ctx.anonymous[text] = known
  return known
end

local function backend_from_table(ctx, t)
  local options = ctx:fields(schema.backend, t)
  if type(t[1]) ~= "string" then
    return fail(ctx, 'must begin with an address, as in { "10.0.0.2:80", weight = 2 }, not %s', what(t[1]))
  elseif t[2] ~= nil then
    return fail(ctx, "holds more than one address")
  elseif not M.address(ctx, ADDR_TARGET, t[1]) then
    return nil
  end
  return {
    addr = t[1], weight = options.weight, backup = options.backup, max_connections = options.max_connections,
  }
end

local function backend(ctx, v)
  if type(v) == "string" then
    return M.address(ctx, ADDR_TARGET, v) and { addr = v, weight = 1, backup = false } or nil
  elseif type(v) == "table" and not value.of(v) then
    return backend_from_table(ctx, v)
  end
  return fail(ctx, 'must be an address like "10.0.0.1:80", not %s', what(v))
end

---The backends of a pool or of a list in `to`: the positions of `t`.
function M.backends(ctx, t)
  local out = {}
  for i = 1, #t do
    if not value.is_unknown(t[i]) then
      ctx:push(i)
      out[#out + 1] = backend(ctx, t[i])
      ctx:pop()
    end
  end
  return out
end

local function backend_option_outside(ctx, t)
  for key in next, t do
    if type(key) ~= "number" then
      ctx:at(key, function()
        if schema.backend.by_name[key] then
          ctx:fail(format('stands beside the address: write { { "...", %s = ... } }', key))
        else
          local is_pool_option = schema.pool.by_name[key] or schema.pool.not_yet[key]
          ctx:fail(is_pool_option and "needs an rx.pool of its own" or "unexpected key in a list of addresses")
        end
      end)
      return true
    end
  end
end

local function target_from_list(ctx, t)
  if backend_option_outside(ctx, t) then
    return nil
  elseif #t == 0 then
    return fail(ctx, "is an empty list of addresses")
  end
  return { kind = "pool", pool = { backends = M.backends(ctx, t), tries = 0 } }
end

function M.target(ctx, row, v)
  local record = value.of(v)
  if record then
    if record.kind == "action" then
      return { kind = record.action, text = record.bytes }
    elseif record.kind == "pool" then
      return record.model and { kind = "pool", pool = record.model } or nil
    elseif record.kind == "pending" then
      return nil
    end
  elseif type(v) == "string" then
    return target_from_text(ctx, v)
  elseif type(v) == "table" then
    return target_from_list(ctx, v)
  elseif type(v) == "function" then
    if row.is_function then
      return { kind = "script", fn = v }
    end
    return fail(ctx, "only the `to` of a route may be a function")
  elseif is_integer(v) then
    return fail(ctx, 'must be an address, not a bare port (write "127.0.0.1:%d")', v)
  end
  return fail(ctx, "must be a pool, an address, a list of addresses or an action, not %s", what(v))
end

-- Addresses to connect from: how far a range may go the program says, when the pool is built.
function M.sources(ctx, _, v)
  return list(ctx, v, "an address", function(one)
    if not kind.string(ctx, nil, one) then
      return nil
    end
    local low, high = match(one, "^([^%-]+)%-([^%-]+)$")
    local is_good = low and not find(one, "/", 1, true) and ctx.link.addr_check(ADDR_CIDR, low) == 0
      and ctx.link.addr_check(ADDR_CIDR, high) == 0
    if not is_good and (low or ctx.link.addr_check(ADDR_CIDR, one) ~= 0) then
      return fail(ctx, '%s is no IP address, no range like "10.0.0.1-10.0.0.9" and no block like "10.0.0.0/28"',
        show(one))
    end
    return one
  end)
end

-- Compared without regard to case; a port behind it is the client's business.
function M.hosts(ctx, _, v)
  local names = list(ctx, v, "a host name", function(one)
    if not kind.string(ctx, nil, one) then
      return nil
    elseif #one > 253 or not find(one, "^[%w_][%w_.-]*$") then
      return fail(ctx, 'must be a host name without a port, as in "proxy.lan", not %s', show(one))
    end
    return one:lower()
  end)
  return names and concat(names, ",")
end

-- "127.0.0.1", "127.0.0.1:5353", "::1", "[::1]:5353": as a client's address is written.
function M.servers(ctx, row, v)
  local servers = list(ctx, v, "an address", function(one)
    return M.client(ctx, row, one)
  end)
  return servers and concat(servers, ",")
end

-- Tests ----------------------------------------------------------------------------------------------------

-- "192.0.2.1", "192.0.2.1:4000", "2001:db8::1", "[2001:db8::1]:4000"
function M.client(ctx, row, v)
  if not kind.string(ctx, row, v) then
    return nil
  end
  local host, port = match(v, "^%[(.+)%]:(%d+)$")
  if not host then
    host, port = match(v, "^([%d.]+):(%d+)$")
  end
  local is_address = not find(v, "/", 1, true) and ctx.link.addr_check(ADDR_CIDR, host or v) == 0
  if not is_address or (port and tonumber(port) > 65535) then
    return fail(ctx, '%s is no address (write "192.0.2.1" or "192.0.2.1:4000")', show(v))
  end
  return v
end

function M.expect_to(ctx, _, v)
  local record = value.of(v)
  if record and record.kind == "action" then
    return record.action
  elseif record and record.kind == "pool" then
    return record.name
  elseif type(v) ~= "string" then
    return fail(ctx, "must be a pool, an address, an action or its name, not %s", what(v))
  end
  for _, word in ipairs(schema.outcomes) do
    if v == word then
      return v
    end
  end
  if not looks_like_name(v) then
    return M.address(ctx, ADDR_TARGET, v)
  elseif ctx.pool_by_name[v] then
    return v
  end
  local known = pool_names(ctx)
  for _, word in ipairs(schema.outcomes) do
    known[#known + 1] = word
  end
  return fail(ctx, "no pool or action named %s%s", show(v), suggest.hint(v, known))
end

function M.expect_protocol(ctx, _, v)
  local record = value.of(v, "protocol")
  if record then
    return record.name
  elseif type(v) ~= "string" then
    return fail(ctx, "must be a protocol or its name, not %s", what(v))
  end
  local known = ctx.session.protocols[v]
  if not known then
    return fail(ctx, "%s", ctx.session:no_protocol(v, false))
  end
  return known.name
end

function M.http_address(ctx, _, v)
  if not kind.string(ctx, nil, v) or not M.address(ctx, ADDR_LISTEN, v) then
    return nil
  elseif find(v, "^unix:") or find(v, "^systemd:") or find(v, "^%*") or find(v, "%-%d+$") then
    return fail(ctx, 'must be one TCP address, as in "127.0.0.1:9180", not %s', show(v))
  end
  return v
end

return M
