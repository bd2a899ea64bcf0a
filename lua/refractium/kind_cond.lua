-- SPDX-License-Identifier: MIT
-- Types of schema.lua: the conditions of a route.

local kind = require "refractium.kind"
local value = require "refractium.value"

local find, format, match, sub, tonumber, type, upper =
  string.find, string.format, string.match, string.sub, tonumber, type, string.upper

local fail, is_integer, list, regex, show, what =
  kind.fail, kind.is_integer, kind.list, kind.regex, kind.show, kind.what
local ADDR_CIDR = 2
local NAME_MAX = 255 -- RFC 1035 3.1

local M = {}
local items = {}

local function texts_only(ctx, v, example)
  if type(v) ~= "string" or v == "" then
    return fail(ctx, "must be a string like %s, not %s", example, what(v))
  end
  return v
end

local function name_problem(s)
  local rest = sub(s, 1, 2) == "*." and sub(s, 3) or s
  if s == "*" then
    return "matches everything: leave the condition out"
  elseif #s > NAME_MAX then
    return format("is longer than %d characters", NAME_MAX)
  elseif find(rest, "*", 1, true) then
    return 'has a "*" that is not the first label (write "*.example.com", or a "~regex")'
  elseif find(rest, "[%s%c/]") or rest == "" then
    return "is no host name"
  elseif find(rest, "^[^:]+:%d+$") then
    return "has a port; names are compared without (see to_port)"
  end
end

function items.name(ctx, v)
  if not texts_only(ctx, v, '"*.example.com"') then
    return nil
  elseif sub(v, 1, 1) == "~" then
    return regex(ctx, v)
  end
  local problem = name_problem(v)
  if problem then
    return fail(ctx, "%s %s", show(v), problem)
  end
  return v
end

function items.exact(ctx, v)
  return texts_only(ctx, v, '"h2"')
end

function items.pattern(ctx, v)
  if not texts_only(ctx, v, '"OpenSSH_9"') then
    return nil
  end
  return sub(v, 1, 1) == "~" and regex(ctx, v) or v
end

function items.path(ctx, v)
  if not texts_only(ctx, v, '"/api/"') then
    return nil
  elseif sub(v, 1, 1) == "~" then
    return regex(ctx, v)
  elseif sub(v, 1, 1) ~= "/" then
    return fail(ctx, '%s does not begin with "/"', show(v))
  end
  return v
end

function items.cidr(ctx, v)
  if not texts_only(ctx, v, '"10.0.0.0/8"') then
    return nil
  elseif ctx.link.addr_check(ADDR_CIDR, v) ~= 0 then
    return fail(ctx, "%s is no address or block: %s", show(v), ctx.link.error())
  end
  return v
end

local function port_number(text)
  local n = tonumber(text)
  return n and n >= 1 and n <= 65535 and n or nil
end

function items.port(ctx, v)
  if is_integer(v) and port_number(v) then
    return format("%d", v)
  end
  local low, high = match(type(v) == "string" and v or "", "^(%d+)%-?(%d*)$")
  low = low and port_number(low)
  high = high ~= "" and high and port_number(high) or low
  if not low or not high or low > high or (type(v) == "string" and find(v, "%-$")) then
    return fail(ctx, 'must be a port from 1 to 65535 or a range like "8000-8099", not %s', what(v))
  end
  return v
end

-- Read by the program, when the route is built.
function items.during(ctx, v)
  return texts_only(ctx, v, '"Mon-Fri 08:00-18:00"')
end

function items.qtype(ctx, v)
  if is_integer(v) and v >= 0 and v <= 65535 then
    return format("%d", v)
  elseif type(v) ~= "string" or not find(v, "^%w+$") then
    return fail(ctx, 'must be a type like "AAAA" or "TYPE65", or a number from 0 to 65535, not %s', what(v))
  end
  return upper(v)
end

function M.texts(ctx, row, v)
  local item = items[row.item]
  return list(ctx, v, "a value", function(one)
    if type(one) == "table" and not value.of(one) then
      return fail(ctx, "must be a single value, not a table")
    end
    return item(ctx, one)
  end)
end

function M.proxies(ctx, _, v)
  return list(ctx, v, "an address", function(one)
    return one == "unix" and one or items.cidr(ctx, one)
  end)
end


return M
