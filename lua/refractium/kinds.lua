-- SPDX-License-Identifier: MIT
-- The types of schema.lua: one function for each, (ctx, row, value) → what build.lua wants, or nil after the
-- finding was reported. ctx (context.lua) knows where in the config the value stands. Conditions, targets and health
-- checks have files of their own: kind_*.lua.

local kind = require "refractium.kind"
local units = require "refractium.units"
local suggest = require "refractium.suggest"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local value = require "refractium.value"

local byte, concat, find, format, gsub, ipairs, next, require, sub, type = string.byte, table.concat,
  string.find, string.format, string.gsub, ipairs, next, require, string.sub, type

local fail, is_integer, list, nested, show, what =
  kind.fail, kind.is_integer, kind.list, kind.nested, kind.show, kind.what
local LABELS_MAX = 4

local M = { what = what, list = list, string = kind.string }

for _, file in ipairs { "kind_cond", "kind_target", "kind_health" } do
  for name, fn in next, require("refractium." .. file) do
    M[name] = fn
  end
end

local function in_range(ctx, v, min, max, low, high, shown)
  if v < min or v > max then
    return fail(ctx, "must be between %s and %s, not %s", low, high, shown)
  end
  return v
end

function M.count(ctx, row, v)
  if not is_integer(v) then
    return fail(ctx, "must be a whole number, not %s", what(v))
  end
  return in_range(ctx, v, row.min, row.max, format("%d", row.min), format("%d", row.max), show(v))
end

function M.workers(ctx, row, v)
  if v == "auto" then
    return 0
  elseif not is_integer(v) then
    return fail(ctx, 'must be "auto" or a whole number, not %s', what(v))
  end
  return M.count(ctx, row, v)
end

function M.boolean(ctx, _, v)
  if type(v) ~= "boolean" then
    return fail(ctx, "must be true or false, not %s", what(v))
  end
  return v
end

-- Of an interface or an algorithm: the kernel's names have 15 bytes at most.
function M.short_name(ctx, row, v)
  if not M.string(ctx, row, v) then
    return nil
  elseif #v > 15 or find(v, "[^%w_.:-]") then
    return fail(ctx, "must be a name of at most 15 characters, not %s", what(v))
  end
  return v
end

-- Names end up in log lines and metric labels.
function M.label(ctx, row, v)
  if not M.string(ctx, row, v) then
    return nil
  elseif #v > 128 or find(v, "%c") then
    return fail(ctx, "must be at most 128 characters without control characters")
  end
  return v
end

-- https://prometheus.io/docs/concepts/data_model: what a label may be called.
function M.labels(ctx, _, v)
  local names, seen = type(v) == "string" and { v } or v, {}
  if type(names) ~= "table" or value.of(names) then
    return fail(ctx, 'must be a list of names, as in { "route" }, not %s', what(v))
  elseif #names > LABELS_MAX then
    return fail(ctx, "at most %d labels, not %d", LABELS_MAX, #names)
  end
  for key in next, names do
    if type(key) ~= "number" or key < 1 or key > #names then
      return fail(ctx, 'must be a list of names, as in { "route" }')
    end
  end
  for _, name in ipairs(names) do
    if type(name) ~= "string" or not find(name, "^[%a_][%w_]*$") or sub(name, 1, 2) == "__" or #name > 64 then
      return fail(ctx, "%s cannot be a label: letters, digits and _, not beginning with a digit or __", what(name))
    elseif name == "le" or name == "quantile" then
      return fail(ctx, '"%s" cannot be a label: Prometheus uses it', name)
    elseif seen[name] then
      return fail(ctx, '"%s" is there twice', name)
    end
    seen[name] = true
  end
  return names
end

function M.choice(ctx, row, v)
  for _, known in ipairs(row.values) do
    if v == known then
      return v
    end
  end
  for _, later in ipairs(row.later or {}) do
    if v == later then
      return fail(ctx, '"%s" is not available in this version (only "%s")', v, concat(row.values, '", "'))
    end
  end
  local known = '"' .. concat(row.values, '", "') .. '"'
  return fail(ctx, "must be %s%s, not %s%s", #row.values > 1 and "one of " or "", known, what(v),
    suggest.hint(v, row.values))
end

function M.balance(ctx, row, v)
  if type(v) == "function" then
    return v
  end
  return M.choice(ctx, row, v)
end

function M.func(ctx, _, v)
  if type(v) ~= "function" then
    return fail(ctx, "must be a function, not %s", what(v))
  end
  return v
end

---A list of what rx.hook returned.
function M.hooks(ctx, _, v)
  local example = "{ rx.hook \"name\" { ... }, ... }"
  if type(v) ~= "table" or value.of(v) then
    return fail(ctx, "must be a list of hooks %s, not %s", example, what(v))
  end
  local out = {}
  for i, item in ipairs(v) do
    local record = value.of(item)
    if record and record.kind == "hook" then
      out[#out + 1] = record.model
    elseif not (record and (record.kind == "unknown" or record.kind == "pending")) then
      ctx:at(i, function() fail(ctx, "must be a hook, not %s", what(item)) end)
    end
  end
  for key in next, v do
    if type(key) ~= "number" or key < 1 or key > #v then
      ctx:at(key, function() fail(ctx, "unexpected key in a list of hooks %s", example) end)
    end
  end
  return out
end

local function measured(parse, print)
  return function(ctx, row, v)
    local n, wrong = parse(value.of(v) and {} or v)
    if not n then
      return fail(ctx, "%s", wrong)
    end
    local min, max = parse(row.min), parse(row.max)
    return in_range(ctx, n, min, max, print(min), print(max), show(v))
  end
end

M.percent = measured(units.percent, units.print_percent)
M.duration = measured(units.duration, units.print_duration)
M.size = measured(units.size, units.print_size)
M.byte_rate = measured(units.byte_rate, units.print_byte_rate)

local BURST_MAX_MS = 3600000 -- RX_RATE_DEPTH_MAX_S

-- "50/s" or { "50/s", burst = 100 }.
function M.rate(ctx, row, v)
  local text, burst = v, nil
  if type(v) == "table" and not value.of(v) then
    text = v[1]
    for key in next, v do
      if key ~= 1 and key ~= "burst" then
        ctx:at(key, function() fail(ctx, 'unexpected key in a rate { "50/s", burst = 100 }') end)
      end
    end
    burst = v.burst
  end
  local count, per_ms = units.rate(value.of(text) and {} or text)
  if not count then
    return fail(ctx, "%s", per_ms)
  elseif not in_range(ctx, count, row.min, row.max, format("%d", row.min), format("%d", row.max), show(text)) then
    return nil
  end
  if burst ~= nil and (not is_integer(burst) or burst < 1 or burst > row.max) then
    ctx:at("burst", function() fail(ctx, "must be a whole number from 1 to %d, not %s", row.max, what(burst)) end)
    return nil
  elseif burst and burst * per_ms / count > BURST_MAX_MS then
    ctx:at("burst", function() fail(ctx, "%d is more than an hour of %s", burst, text) end)
    return nil
  end
  return { count = count, per_ms = per_ms, burst = burst or 0 }
end

local OVER_LIMIT = { refuse = true, drop = true, tarpit = true }

function M.over_limit(ctx, _, v)
  local record = value.of(v)
  if record and record.kind == "action" and OVER_LIMIT[record.action] then
    return record.action
  end
  return fail(ctx, "must be rx.refuse, rx.drop or rx.tarpit, not %s", what(v))
end

-- It travels in a header.
function M.token(ctx, _, v)
  if not M.string(ctx, nil, v) then
    return nil
  elseif #v > 256 or find(v, "[^\33-\126]") then
    return fail(ctx, "must be at most 256 visible ASCII characters without spaces")
  end
  return v
end

-- What is wrong is said without the text: there may be a password in it.
function M.store(ctx, _, v)
  if type(v) ~= "string" then
    return fail(ctx, 'must be "redis://[user:password@]host[:port][/db]" or "unix:/path", not %s', type(v))
  elseif ctx.link.store_check(v) ~= 0 then
    return fail(ctx, "%s", ctx.link.error())
  end
  return v
end

function M.own_store(ctx, row, v)
  if v == false then
    return v
  end
  return M.store(ctx, row, v)
end

function M.sandbox(ctx, _, v)
  if type(v) == "boolean" or v == "strict" then
    return v
  end
  return fail(ctx, 'must be true, false or "strict", not %s', what(v))
end

function M.admin(ctx, _, v)
  if v == false or (type(v) == "string" and v ~= "" and #v <= 107 and not find(v, "\0", 1, true)) then
    return v
  end
  return fail(ctx, "must be false or the path of a socket, at most 107 bytes, not %s", what(v))
end

function M.access_log(ctx, _, v)
  if type(v) == "boolean" or (type(v) == "string" and v ~= "") then
    return v
  end
  return fail(ctx, 'must be true, false, "journal", "syslog" or the path of a file, not %s', what(v))
end

local LOGS = { "stderr", "journal", "syslog" }

-- A path has a slash, so that a word misspelt is no file.
function M.log(ctx, _, v)
  if type(v) == "string" and find(v, "/", 1, true) then
    return v
  end
  for _, word in ipairs(LOGS) do
    if v == word then
      return v
    end
  end
  return fail(ctx, 'must be "stderr", "journal", "syslog" or the path of a file with a slash, not %s%s', show(v),
    suggest.hint(v, LOGS))
end

local function byte_strings(example)
  return function(ctx, _, v)
    return list(ctx, v, "a string", function(s)
      if type(s) ~= "string" then
        return fail(ctx, "must be a string of bytes like %s, not %s", example, what(s))
      elseif s == "" then
        return fail(ctx, "is an empty string")
      end
      return s
    end)
  end
end

M.bytes = byte_strings('"\\x01\\x02"')
local function first_range(ctx, s)
  if type(s) ~= "string" then
    return fail(ctx, 'must be a byte like "G" or a range like "\\x00-\\x1f", not %s', what(s))
  end
  local low, dash, high = byte(s, 1, 3)
  if #s == 1 then
    return { low = low, high = low }
  elseif #s ~= 3 or dash ~= 45 then
    return fail(ctx, 'is neither one byte nor a range: write { "G", "H" } or "\\x00-\\x1f"')
  elseif low > high then
    return fail(ctx, "is a range that runs backwards")
  end
  return { low = low, high = high }
end

function M.first_bytes(ctx, _, v)
  return list(ctx, v, "a byte", function(s) return first_range(ctx, s) end)
end

M.segments = byte_strings('"GET / HTTP/1.1\\r\\n"')

function M.ttl(ctx, row, v)
  local bounds = nested(schema.ttl)(ctx, row, v)
  if bounds and bounds.min and bounds.max and bounds.min > bounds.max then
    return fail(ctx, "min is more than max")
  end
  return bounds
end

M.expect = nested(schema.expect)
M.samples = nested(schema.samples)
M.record = nested(schema.record)

M.proxy_protocol = nested(schema.proxy_protocol)

local send_proxy = nested(schema.send_proxy)

function M.send_proxy(ctx, row, v)
  if v == "v1" then
    return 1
  elseif v == "v2" then
    return 2
  elseif type(v) ~= "table" or value.of(v) then
    return fail(ctx, 'must be "v1", "v2" or a table like { version = "v2", unique_id = true }, not %s', what(v))
  end
  local o = send_proxy(ctx, row, v)
  if not o then
    return nil
  elseif o.version == "v1" and (o.unique_id or o.crc32c) then
    return fail(ctx, 'version "v1" has no room for %s', o.unique_id and "unique_id" or "crc32c")
  end
  return (o.version == "v1" and 1 or 2) + (o.unique_id and 4 or 0) + (o.crc32c and 8 or 0)
end

local canary = nested(schema.canary)

function M.canary(ctx, row, v)
  if v == false then
    return nil
  elseif v == true then
    return fail(ctx, 'must be false or a table like { share = "5%%", watch = "30s" }, not true')
  end
  return canary(ctx, row, v)
end

-- Routes are walked by check.lua, which knows protocols and listeners; here only their outer shape counts.
function M.routes(ctx, _, v)
  if type(v) ~= "table" or value.of(v) then
    return fail(ctx, "must be a list of routes { { rx.tls, to = ... }, ... }, not %s", what(v))
  end
  return v
end

sessions.add_kinds(M)

---A key as it reads in a path: .to, [3], ["odd key"].
function M.path_part(key)
  if type(key) == "number" then
    return format("[%.14g]", key)
  elseif type(key) == "string" and find(key, "^[%a_][%w_]*$") then
    return "." .. key
  end
  return format("[%s]", type(key) == "string" and show(key) or gsub(type(key), "^", "a "))
end

return M
