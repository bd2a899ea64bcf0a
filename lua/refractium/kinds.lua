-- SPDX-License-Identifier: MIT
-- The types of schema.lua: one function for each, (ctx, row, value) → what build.lua wants, or nil after the
-- finding was reported. ctx (check.lua) knows where in the config the value stands.

local units = require "refractium.units"
local suggest = require "refractium.suggest"
local schema = require "refractium.schema"
local sessions = require "refractium.sessions"
local value = require "refractium.value"

local ipairs, next, rawget, tonumber, type = ipairs, next, rawget, tonumber, type
local concat, find, floor, format, gsub, match, sub, upper =
  table.concat, string.find, math.floor, string.format, string.gsub, string.match, string.sub, string.upper

local byte, char = string.byte, string.char
local ADDR_LISTEN, ADDR_TARGET, ADDR_CIDR = 0, 1, 2
local NAME_MAX = 255 -- RFC 1035 3.1
local LABELS_MAX = 4

local M = {}
local show = units.show

-- What the user wrote, in two words: for "must be ..., not ...".
local function what(v)
  local record = value.of(v)
  if record then
    return record.text
  elseif type(v) == "string" or type(v) == "number" then
    return show(v)
  elseif type(v) == "nil" then
    return "nothing"
  end
  return "a " .. type(v)
end
M.what = what

local function fail(ctx, text, ...)
  ctx:fail(format(text, ...))
  return nil
end

local function is_integer(v)
  return type(v) == "number" and floor(v) == v and v - v == 0
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

function M.string(ctx, _, v)
  if type(v) ~= "string" or v == "" then
    return fail(ctx, "must be a string, not %s", what(v))
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
  local list, seen = type(v) == "string" and { v } or v, {}
  if type(list) ~= "table" or value.of(list) then
    return fail(ctx, 'must be a list of names, as in { "route" }, not %s', what(v))
  elseif #list > LABELS_MAX then
    return fail(ctx, "at most %d labels, not %d", LABELS_MAX, #list)
  end
  for key in next, list do
    if type(key) ~= "number" or key < 1 or key > #list then
      return fail(ctx, 'must be a list of names, as in { "route" }')
    end
  end
  for _, name in ipairs(list) do
    if type(name) ~= "string" or not find(name, "^[%a_][%w_]*$") or sub(name, 1, 2) == "__" or #name > 64 then
      return fail(ctx, "%s cannot be a label: letters, digits and _, not beginning with a digit or __", what(name))
    elseif name == "le" or name == "quantile" then
      return fail(ctx, '"%s" cannot be a label: Prometheus uses it', name)
    elseif seen[name] then
      return fail(ctx, '"%s" is there twice', name)
    end
    seen[name] = true
  end
  return list
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

function M.http_address(ctx, _, v)
  if not M.string(ctx, nil, v) or not M.address(ctx, ADDR_LISTEN, v) then
    return nil
  elseif find(v, "^unix:") or find(v, "^%*") or find(v, "%-%d+$") then
    return fail(ctx, 'must be one TCP address, as in "127.0.0.1:9180", not %s', show(v))
  end
  return v
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

---A list as the user wrote it, or one value standing for a list of one. Calls each(value) with the path set;
---keeps what it returns. Anything but positions 1..n in the table is reported.
local function list(ctx, v, expected, each)
  if value.is_unknown(v) then
    return nil
  elseif type(v) ~= "table" or value.of(v) then
    local one = each(v)
    return one ~= nil and { one } or nil
  end
  local n, out = #v, {}
  if next(v) == nil then
    return fail(ctx, "is an empty list; give %s, or leave it out", expected)
  end
  for key in next, v do
    if not is_integer(key) or key < 1 or key > n then
      ctx:at(key, function() ctx:fail("unexpected key in a list") end)
    end
  end
  for i = 1, n do
    ctx:push(i)
    local item = v[i]
    if not value.is_unknown(item) then
      out[#out + 1] = each(item)
    end
    ctx:pop()
  end
  return out
end
M.list = list

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

-- Conditions -----------------------------------------------------------------------------------------------

local items = {}

local function regex(ctx, s)
  if ctx.link.regex_check(sub(s, 2)) ~= 0 then
    return fail(ctx, "bad regex %s: %s", show(s), ctx.link.error())
  end
  return s
end

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

-- Targets --------------------------------------------------------------------------------------------------

local function later_address(text)
  for prefix in next, schema.unavailable_addresses do
    if sub(text, 1, #prefix) == prefix then
      return prefix
    end
  end
end

---@return string? the address, after the door has read it
function M.address(ctx, kind, text)
  local later = later_address(text)
  if later then
    return fail(ctx, '"%s..." is not available in this version', later)
  elseif ctx.link.addr_check(kind, text) ~= 0 then
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

function M.ip(ctx, row, v)
  if not M.string(ctx, row, v) then
    return nil
  elseif find(v, "/", 1, true) or ctx.link.addr_check(ADDR_CIDR, v) ~= 0 then
    return fail(ctx, "%s is no IP address", show(v))
  end
  return v
end

-- Compared without regard to case; a port behind it is the client's business.
function M.hosts(ctx, _, v)
  local names = list(ctx, v, "a host name", function(one)
    if not M.string(ctx, nil, one) then
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
  if not M.string(ctx, row, v) then
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

local function nested(section)
  return function(ctx, _, v)
    if type(v) ~= "table" or value.of(v) then
      return fail(ctx, "must be a table, not %s", what(v))
    elseif next(v) == nil then
      return fail(ctx, "is empty")
    end
    return ctx:fields(section, v)
  end
end

function M.ttl(ctx, row, v)
  local bounds = nested(schema.ttl)(ctx, row, v)
  if bounds and bounds.min and bounds.max and bounds.min > bounds.max then
    return fail(ctx, "min is more than max")
  end
  return bounds
end

-- Health checks --------------------------------------------------------------------------------------------------

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

M.expect = nested(schema.expect)
M.samples = nested(schema.samples)
M.record = nested(schema.record)

M.proxy_protocol = nested(schema.proxy_protocol)

function M.proxies(ctx, _, v)
  return list(ctx, v, "an address", function(one)
    return one == "unix" and one or items.cidr(ctx, one)
  end)
end

-- As bits of enum rx_send_proxy.
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
