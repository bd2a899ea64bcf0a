-- SPDX-License-Identifier: MIT
-- Types of schema.lua: health checks.

local kind = require "refractium.kind"
local schema = require "refractium.schema"

local byte, char, find, format, gsub, ipairs, match, rawget, sub, tonumber, type =
  string.byte, string.char, string.find, string.format, string.gsub, ipairs, string.match, rawget, string.sub,
  tonumber, type

local fail, is_integer, list, nested, regex, show, what =
  kind.fail, kind.is_integer, kind.list, kind.nested, kind.regex, kind.show, kind.what

local M = {}

-- Goes into a request or a handshake.
function M.word(ctx, _, v)
  if type(v) ~= "string" or v == "" or #v > 253 or find(v, "[%z%s%c]") then
    return fail(ctx, "must be a name without blanks, at most 253 characters, not %s", what(v))
  end
  return v
end

function M.http_path(ctx, _, v)
  if type(v) ~= "string" or not find(v, "^/") or #v > 1024 or find(v, "[%z%s%c]") then
    return fail(ctx, 'must be a path that begins with "/", without blanks, not %s', what(v))
  end
  return v
end

local function status_number(text)
  local n = tonumber(text)
  return n and n >= 100 and n <= 599 and n or nil
end

local function status_range(ctx, v)
  if is_integer(v) and status_number(v) then
    return { low = v, high = v }
  end
  local low, high = match(type(v) == "string" and v or "", "^(%d%d%d)%-?(%d*)$")
  low = low and status_number(low)
  high = high ~= "" and high and status_number(high) or low
  if not low or not high or low > high or (type(v) == "string" and find(v, "%-$")) then
    return fail(ctx, 'must be a status from 100 to 599 or a range like "200-299", not %s', what(v))
  end
  return { low = low, high = high }
end

function M.statuses(ctx, _, v)
  return list(ctx, v, "a status", function(one) return status_range(ctx, one) end)
end

local function regex_quoted(bytes)
  return (gsub(bytes, ".", function(c) return format("\\x%02x", byte(c)) end))
end

-- Text, or "hex:" and bytes in hex, which may stand apart.
local function bytes_of(ctx, v)
  local hex = match(v, "^hex:(.*)$")
  if not hex then
    return v
  end
  hex = gsub(hex, "%s", "")
  if hex == "" or #hex % 2 == 1 or find(hex, "%X") then
    return fail(ctx, 'must have two hex digits for each byte behind "hex:", not %s', show(v))
  end
  return (gsub(hex, "%x%x", function(pair) return char(tonumber(pair, 16)) end))
end

function M.payload(ctx, _, v)
  if type(v) ~= "string" or v == "" then
    return fail(ctx, "must be a string, not %s", what(v))
  elseif #v > 16384 then
    return fail(ctx, "is longer than 16384 bytes")
  end
  return bytes_of(ctx, v)
end

local function expected_text(ctx, v)
  if type(v) ~= "string" or v == "" then
    return fail(ctx, "must be a string, not %s", what(v))
  elseif #v > 4096 then
    return fail(ctx, "is longer than 4096 bytes")
  elseif sub(v, 1, 1) == "~" then
    return regex(ctx, v)
  end
  -- What begins with "~" in hex must not be taken for a regex.
  local bytes = bytes_of(ctx, v)
  return bytes and sub(bytes, 1, 1) == "~" and "~^" .. regex_quoted(bytes) or bytes
end

function M.expectation(ctx, _, v)
  if type(v) == "function" then
    return { fn = v, texts = {} }
  end
  local texts = list(ctx, v, "a string", function(one) return expected_text(ctx, one) end)
  return texts and { texts = texts }
end

local HTTP, TLS = { http = true, https = true }, { tls = true, https = true }
local ONLY = {
  path = HTTP, host = HTTP, method = HTTP, status = HTTP, sni = TLS, verify = TLS,
  send = { tcp = true, tls = true, udp = true },
}

function M.health(ctx, _, v)
  local out = nested(schema.health)(ctx, nil, v)
  if not out or not out.check then
    return out
  end
  for _, row in ipairs(schema.health) do
    local only = ONLY[row.name]
    if only and rawget(v, row.name) ~= nil and not only[out.check] then
      ctx:at(row.name, function() fail(ctx, 'is nothing for check = "%s"', out.check) end)
    end
  end
  if out.check == "udp" and rawget(v, "send") == nil then
    return fail(ctx, 'check = "udp" needs send: what is not asked does not answer')
  elseif out.method == "HEAD" and rawget(v, "expect") ~= nil then
    return fail(ctx, "an answer to HEAD has no body to expect something in")
  end
  return out
end

return M
