-- SPDX-License-Identifier: MIT
-- The config an import makes.
-- Enters: options by the names of schema.lua, routes, pools, and what has no equivalent. Leaves: refractium.lua.
-- The schema is asked about every option: what this version does not have becomes a comment that says so, and is
-- written as an option as soon as there is a row for it. So importers say what a key means, and nothing about
-- versions.

local builtin = require "refractium.builtin"
local schema = require "refractium.schema"

local ipairs, setmetatable, tostring = ipairs, setmetatable, tostring
local byte, concat, find, format, gsub, match, sub =
  string.byte, table.concat, string.find, string.format, string.gsub, string.match, string.sub

local M = {}

local WIDTH = 112
local COMMENT_MAX = 300

---A Lua string literal; bytes that are not printable ASCII are escaped.
function M.quote(s)
  return '"' .. gsub(s, '[%c\128-\255"\\]', function(c)
    return (c == '"' or c == "\\") and "\\" .. c or format("\\x%02x", byte(c))
  end) .. '"'
end

---One value as it is, several as a list.
function M.list(values, write)
  write = write or M.quote
  local out = {}
  for i, v in ipairs(values) do
    out[i] = write(v)
  end
  return #out == 1 and out[1] or "{ " .. concat(out, ", ") .. " }"
end

function M.seconds(n)
  return format('"%.14g%s"', n < 1 and n * 1000 or n, n < 1 and "ms" or "s")
end

function M.milliseconds(n)
  return n % 1000 == 0 and format('"%ds"', n / 1000) or format('"%dms"', n)
end

-- Text of the input, fit for one line of a comment.
local function clean(s)
  s = gsub(tostring(s), "[%c]", " ")
  return #s > COMMENT_MAX and sub(s, 1, COMMENT_MAX) .. "..." or s
end
M.clean = clean

-- Blocks: what stands between the braces of one verb, or of one route ------------------------------------------------

local block = {}
block.__index = block

function block:comment(text, ...)
  self.lines[#self.lines + 1] = { comment = clean(format(text, ...)) }
end

---What the other config says and this program has nothing for; one comment for all with the same reason.
function block:lost(path, node, why)
  local text = format("%s = %s (line %d)", path, clean(node:show()), node.line)
  local line = self.reasons[why]
  if line then
    line.what[#line.what + 1] = text
  else
    line = { what = { text } }
    self.reasons[why] = line
    self.lines[#self.lines + 1] = line
  end
  line.comment = concat(line.what, ", ") .. ": " .. why
end

local function is_value(row, choice)
  for _, v in ipairs(row.values or {}) do
    if v == choice then
      return true
    end
  end
  return row.values == nil
end

---An option in Lua; `choice`: its value, where the schema has a list of those. False: it became a comment.
function block:option(name, text, origin, choice)
  local row = schema[self.section].by_name[name]
  if row and (choice == nil or is_value(row, choice)) then
    self.lines[#self.lines + 1] = { option = format("%s = %s", name, text), origin = origin and clean(origin) }
    return true
  end
  self:comment("%s = %s is not available in this version%s", name, text, origin and " (" .. origin .. ")" or "")
  return false
end

function block:is_empty()
  for _, line in ipairs(self.lines) do
    if line.option then
      return false
    end
  end
  return true
end

local function wrap(text, indent, into)
  local prefix, line = indent .. "-- ", ""
  for word in text:gmatch "%S+" do
    if line ~= "" and #prefix + #line + 1 + #word > WIDTH then
      into[#into + 1] = prefix .. line
      line = ""
    end
    line = line == "" and word or line .. " " .. word
  end
  into[#into + 1] = prefix .. line
end

function block:write(into, indent)
  for _, line in ipairs(self.lines) do
    if line.comment then
      wrap(line.comment, indent, into)
    else
      local text = indent .. line.option .. ","
      local is_short = line.origin and #text + #line.origin + 5 <= WIDTH
      if line.origin and not is_short then
        wrap(line.origin, indent, into)
      end
      into[#into + 1] = is_short and text .. "  -- " .. line.origin or text
    end
  end
end

-- A route: comments first, then one entry. Where it stands a second time, all has been said about it.
function block:write_route(into, indent)
  local parts, is_said = { self.proto }, self.is_said
  self.is_said = true
  if is_said and self.is_off then
    return
  end
  for _, line in ipairs(self.lines) do
    if line.comment then
      if not is_said then
        wrap(line.comment, indent, into)
      end
    else
      parts[#parts + 1] = line.option
    end
  end
  local text = indent .. (self.is_off and "-- " or "") .. "{ " .. concat(parts, ", ") .. " },"
  if #text > WIDTH and not self.is_off then
    text = indent .. "{\n" .. indent .. "  " .. concat(parts, ",\n" .. indent .. "  ") .. ",\n" .. indent .. "},"
  end
  into[#into + 1] = text .. (self.origin and "  -- " .. clean(self.origin) or "")
end

local function new_block(section)
  return setmetatable({ section = section, lines = {}, reasons = {} }, block)
end

-- The config ---------------------------------------------------------------------------------------------------------

local out = {}
out.__index = out

---@param shipped table? set of names of protocols that ship as scripts
function M.new(title, shipped)
  return setmetatable({
    title = title, shipped = shipped or {}, head = new_block "server", server = new_block "server", protocols = {},
    pools = {}, listens = {}, names = {}, guards = {},
  }, out)
end

---`rx.NAME`, or nil and why not.
function out:protocol(name)
  if not builtin.by_name[name] and not self.shipped[name] then
    return nil, format("rx.%s is not available in this version", name)
  end
  return find(name, "^[%a_][%w_]*$") and "rx." .. name or format("rx[%q]", name)
end

-- A Lua name that nothing else here has.
function out:name(wanted)
  local name = gsub(wanted, "[^%w_]", "_")
  if find(name, "^%d") or name == "" then
    name = "_" .. name
  end
  local base, n = name, 1
  while self.names[name] or name == "rx" do
    n = n + 1
    name = base .. "_" .. n
  end
  self.names[name] = true
  return name
end

-- What those that ship as scripts are spoken over; TCP alone, where it does not say.
local SCRIPTS = { snmp = "both", syslog = "both", sip = "both", teamspeak = "udp" }

---What `rx.NAME` is spoken over: "tcp", "udp" or "both".
function M.spoken_over(name)
  local row = builtin.by_name[name]
  return row and row.transport or SCRIPTS[name] or "tcp"
end

---A route of one transport: says so where its protocol has both, and is off where it has only the other.
---@param name string? of the protocol; nil: one of the config's own, which says it itself
function block:narrow(name, transport, origin)
  local own = name and M.spoken_over(name) or transport
  if own == "both" then
    self.is_off = not self:option("transport", M.quote(transport), origin, transport) or self.is_off
  elseif own ~= transport then
    self.is_off = true
    self:comment("%s is spoken over %s only", self.proto, own)
  end
end

---A protocol of the user's own; returns its Lua name. Fields are lines of Lua.
function out:own_protocol(wanted, fields, comments)
  local name = self:name(wanted)
  local label = gsub(match(wanted, "^[%w_.-]+") or "own", "^[^%w]+", "")
  self.protocols[#self.protocols + 1] = {
    name = name, label = self:label(label == "" and "own" or label), fields = fields, comments = comments or {},
  }
  return name
end

-- Protocol names are one space with the built-in ones.
function out:label(wanted)
  self.labels = self.labels or {}
  local label, n = sub(wanted, 1, 50), 1
  while self.labels[label] or builtin.by_name[label] or self.shipped[label] do
    n = n + 1
    label = sub(wanted, 1, 50) .. "-" .. n
  end
  self.labels[label] = true
  return label
end

-- A name has no address of its own: neither digits and dots, nor [v6], nor a path.
local function has_name(addresses)
  for _, address in ipairs(addresses) do
    if not find(address, "^[%d.]+:%d+$") and not find(address, "^%[") and not find(address, "^unix:") then
      return true
    end
  end
  return false
end

-- The options that make a pool of targets, in a block of their own; empty when none is asked for.
local function pool_options(addresses, options)
  local pool = new_block "pool"
  local row, balance = schema.pool.by_name.balance, options.balance
  if #addresses > 1 and balance and balance ~= row.default then
    pool:option("balance", M.quote(balance), options.balance_origin, balance)
  end
  if options.ttl and has_name(addresses) then
    pool:option("ttl", options.ttl, options.ttl_origin)
  end
  if options.send_proxy then
    pool:option("send_proxy", M.quote(options.send_proxy), options.proxy_origin)
  end
  return pool
end

---Targets as the `to` of a route: written out, or as a pool when an option asks for one.
---@param options table? balance: a word of schema.pool's (`first`: always the first that works), ttl: Lua text,
---send_proxy: a word; each with its origin
function out:target(wanted, addresses, options)
  options = options or {}
  local pool = pool_options(addresses, options)
  self.has_names = self.has_names or has_name(addresses)
  if #pool.lines > 0 then
    local name = self:name(wanted)
    self.pools[#self.pools + 1] = { name = name, addresses = addresses, block = pool }
    return name
  end
  return M.list(addresses)
end

function M.route(proto, origin)
  local route = new_block "route"
  route.proto, route.origin = proto, origin
  return route
end

local function is_served(listen)
  for _, line in ipairs(listen.lines) do
    if line.option and find(line.option, "^fallback_") then
      return true
    end
  end
  for _, route in ipairs(listen.routes) do
    if not route.is_off then
      return true
    end
  end
  return false
end

---@param addresses table list of strings
---@param routes table list of routes; listeners that share one list share it in the output
function out:listen(addresses, routes)
  local listen = new_block "listen"
  listen.addresses, listen.routes = addresses, routes
  self.listens[#self.listens + 1] = listen
  return listen
end

local function write_protocols(self, into)
  for _, proto in ipairs(self.protocols) do
    for _, text in ipairs(proto.comments) do
      wrap(clean(text), "", into)
    end
    into[#into + 1] = format("local %s = rx.protocol %s {", proto.name, M.quote(proto.label))
    for _, field in ipairs(proto.fields) do
      into[#into + 1] = "  " .. field
    end
    into[#into + 1] = "}\n"
  end
end

local function write_pools(self, into)
  for _, pool in ipairs(self.pools) do
    local entries = {}
    for i, address in ipairs(pool.addresses) do
      entries[i] = M.quote(address)
    end
    into[#into + 1] = format("local %s = rx.pool %s {", pool.name, M.quote(pool.name))
    into[#into + 1] = "  " .. concat(entries, ", ") .. ","
    pool.block:write(into, "  ")
    into[#into + 1] = "}\n"
  end
end

local function write_routes(routes, into, indent)
  for _, route in ipairs(routes) do
    route:write_route(into, indent)
  end
end

-- Lists of routes that several listeners have get a name.
local function shared_routes(self, into)
  local uses, names = {}, {}
  for _, listen in ipairs(self.listens) do
    uses[listen.routes] = (uses[listen.routes] or 0) + 1
  end
  for _, listen in ipairs(self.listens) do
    local routes = listen.routes
    if uses[routes] > 1 and not names[routes] then
      names[routes] = self:name "routes"
      into[#into + 1] = format("local %s = {", names[routes])
      write_routes(routes, into, "  ")
      into[#into + 1] = "}\n"
    end
  end
  return names
end

local function write_listens(self, into)
  local names = shared_routes(self, into)
  for _, listen in ipairs(self.listens) do
    if not is_served(listen) then
      listen:option(listen.is_udp and "fallback_udp" or "fallback_tcp", "rx.drop", "no route is left")
    end
    into[#into + 1] = format("rx.listen %s {", M.list(listen.addresses))
    listen:write(into, "  ")
    if names[listen.routes] then
      into[#into + 1] = format("  routes = %s,", names[listen.routes])
    elseif #listen.routes > 0 then
      into[#into + 1] = "  routes = {"
      write_routes(listen.routes, into, "    ")
      into[#into + 1] = "  },"
    end
    into[#into + 1] = "}\n"
  end
end

---Sessions that a log feeds; the block takes options of rx.sessions.
function out:guard(name, log)
  local guard = new_block "sessions"
  guard.name, guard.log = name, log
  self.guards[#self.guards + 1] = guard
  return guard
end

local function write_guards(self, into)
  for _, guard in ipairs(self.guards) do
    into[#into + 1] = format("local guarded = rx.sessions %s {", M.quote(guard.name))
    guard:write(into, "  ")
    into[#into + 1] = format("}\n\nrx.tail %s { parse = rx.xray, sessions = guarded }\n", M.quote(guard.log))
  end
end

---Every leaf of the input that nothing above has asked for.
function out:leftovers(root, why)
  root:unused(function(path, node)
    self.head:lost(path, node, why)
  end)
end

function out:text()
  local into = { "-- " .. self.title, "-- Read it, then run `refractium check` with it." }
  if #self.head.lines > 0 then
    into[#into + 1] = "--\n-- What has no equivalent:"
    self.head:write(into, "")
  end
  into[#into + 1] = '\nlocal rx = require "refractium"\n'
  if #self.server.lines > 0 then
    into[#into + 1] = self.server:is_empty() and "-- rx.server" or "rx.server {"
    self.server:write(into, self.server:is_empty() and "" or "  ")
    into[#into + 1] = self.server:is_empty() and "" or "}\n"
  end
  write_protocols(self, into)
  write_pools(self, into)
  write_listens(self, into)
  write_guards(self, into)
  return (gsub(concat(into, "\n"), "\n*$", "\n"))
end

return M
