-- SPDX-License-Identifier: MIT
-- sslh.cfg.

local out = require "refractium.import.out"
local regex = require "refractium.import.regex"

local ipairs, pairs = ipairs, pairs
local insert, remove = table.insert, table.remove
local find, format, gsub, lower, match =
  string.find, string.format, string.gsub, string.lower, string.match

local M = { title = "sslh.cfg" }

local LOGS = "the access log has one line a connection, and messages go to standard error"
local MANAGER = "the service manager's business"

-- Every key there is; the reason where it has no equivalent. docs/guide/migrating.md has a row for each.
local GLOBAL_LOST = {
  foreground = MANAGER, pidfile = MANAGER, chroot = MANAGER,
  inetd = "threads serve all connections; there is no inetd mode",
  numeric = LOGS, syslog_facility = LOGS, logfile = LOGS, verbose = LOGS, ["verbose-config"] = LOGS,
  ["verbose-config-error"] = LOGS, ["verbose-connections"] = LOGS, ["verbose-connections-try"] = LOGS,
  ["verbose-connections-error"] = LOGS, ["verbose-fd"] = LOGS, ["verbose-packets"] = LOGS,
  ["verbose-probe-info"] = LOGS, ["verbose-probe-error"] = LOGS, ["verbose-system-error"] = LOGS,
  ["verbose-int-error"] = LOGS, prefix = "a setting of their tests", version = "an option of the command line",
}
local LISTEN_LOST = { keepalive = "idle_timeout ends connections that say nothing more" }
local PROTOCOL_LOST = {
  service = "libwrap is not asked; from and not_from of a route say who may come",
  fork = "threads serve all connections", tfo_ok = "TCP Fast Open to backends is not used",
  keepalive = "idle_timeout ends connections that say nothing more", log_level = LOGS,
  resolve_on_forward = "names are looked up again without being told to",
  minlength = "a route waits for as many bytes as it needs",
  test_patterns = "a setting of their tests",
}

M.keys = {
  "timeout", "on-timeout", "user", "transparent", "udp_max_connections", "listen.host", "listen.port", "listen.is_udp",
  "listen.is_unix", "listen.max_connections", "listen.proxyprotocol", "protocols.name", "protocols.host",
  "protocols.port", "protocols.is_udp", "protocols.is_unix", "protocols.udp_timeout", "protocols.transparent",
  "protocols.max_connections", "protocols.sni_hostnames", "protocols.alpn_protocols", "protocols.regex_patterns",
  "protocols.proxyprotocol",
}
for prefix, lost in pairs { [""] = GLOBAL_LOST, ["listen."] = LISTEN_LOST, ["protocols."] = PROTOCOL_LOST } do
  for key in pairs(lost) do
    M.keys[#M.keys + 1] = prefix .. key
  end
end

local NAMES = {
  ssh = "ssh", openvpn = "openvpn", wireguard = "wireguard", tinc = "tinc", xmpp = "xmpp", http = "http", tls = "tls",
  ssl = "tls", adb = "adb", socks5 = "socks5", syslog = "syslog", teamspeak = "teamspeak", msrdp = "rdp",
}

local function lose(block, table, reasons, prefix)
  for _, key in ipairs(table.keys) do
    if reasons[key] then
      block:lost(prefix .. key, table.map[key]:use(), reasons[key])
    end
  end
end

-- A port is a number or the name of a service.
local function port_of(result, table)
  local node = table:child "port"
  if not node or (node.kind ~= "string" and node.kind ~= "number") then
    return nil, "has no port"
  end
  local text = node:use().text
  local number = find(text, "^%d+$") and text or result.service(text)
  return number and format("%d", number), format("port %s is the name of a service that this machine does not know",
    out.quote(text))
end

local function hostport(host, port)
  return (find(host, ":", 1, true) and not find(host, "^%[") and "[" .. host .. "]" or host) .. ":" .. port
end

-- Listeners --------------------------------------------------------------------------------------------------------

-- "localhost" and names of the machine become addresses: what rx.listen takes.
local function listen_addresses(host, port, notes)
  if host == "localhost" then
    return { "127.0.0.1:" .. port, "[::1]:" .. port }
  elseif find(host, "^[%d.]+$") or find(host, ":", 1, true) then
    return { hostport(host, port) }
  end
  notes[#notes + 1] = format("host %s: a listener takes addresses, not names; all of them are meant until you write"
    .. " the one", out.quote(host))
  return { "*:" .. port }
end

local function read_listen(result, entry, index, places)
  local is_udp, is_unix = entry:take("is_udp", "boolean"), entry:take("is_unix", "boolean")
  local host, host_node = entry:take("host", "string")
  local notes = {}
  if not host then
    return
  end
  local port, why = port_of(result, entry)
  local list = { "unix:" .. host }
  if not is_unix then
    if not port then
      result.head:comment("listen[%d] (line %d): %s", index, host_node.line, why)
      return
    end
    list = listen_addresses(host, port, notes)
  end
  local options = {
    most = entry:take("max_connections", "number"), has_proxy = entry:take("proxyprotocol", "boolean"), notes = notes,
    entry = entry, path = format("listen[%d].", index),
  }
  for _, address in ipairs(list) do
    local place = places[address]
    if not place then
      place = { address = address, options = options }
      places[address], places[#places + 1] = place, place
    end
    place.tcp, place.udp = place.tcp or not is_udp, place.udp or is_udp
  end
end

local function same_place(a, b)
  return a.tcp == b.tcp and a.udp == b.udp and a.options.most == b.options.most
    and a.options.has_proxy == b.options.has_proxy
end

-- Addresses with the same options and transports become one rx.listen.
local function grouped(places)
  local groups = {}
  for _, place in ipairs(places) do
    local mine
    for _, group in ipairs(groups) do
      mine = mine or (same_place(group[1], place) and group)
    end
    if not mine then
      mine = {}
      groups[#groups + 1] = mine
    end
    mine[#mine + 1] = place
  end
  return groups
end

local function listen_options(listen, group, seen)
  local options = group[1].options
  for _, place in ipairs(group) do
    local o = place.options
    if not seen[o] then
      seen[o] = true
      lose(listen, o.entry, LISTEN_LOST, o.path)
      for _, note in ipairs(o.notes) do
        listen:comment("%s%s", o.path, note)
      end
    end
  end
  if options.most then
    listen:option("max_connections", format("%d", options.most))
  end
  if options.has_proxy then
    listen:option("proxy_protocol", '{ from = { "0.0.0.0/0", "::/0" } }',
      "proxyprotocol: from whom was not asked there; name the proxies")
  end
end

-- Protocols --------------------------------------------------------------------------------------------------------

-- glob(7) as a condition on names: "*." in front is known here, all else is a regular expression.
local function glob(text)
  local rest = match(text, "^%*%.(.+)$") or text
  if not find(rest, "[*?%[]") then
    return text
  end
  local pattern = gsub(text, "[%w%s%p]", function(c)
    if c == "*" then
      return ".*"
    elseif c == "?" then
      return "."
    end
    return find(c, "[%w%[%]-]") and c or "\\" .. c
  end)
  return "~^" .. gsub(pattern, "%[\\!", "[^") .. "$"
end

local function tls_conditions(r, entry)
  local names, alpn = entry:take_strings "sni_hostnames", entry:take_strings "alpn_protocols"
  for i, name in ipairs(names or {}) do
    names[i] = glob(name)
  end
  if names then
    r:option("sni", out.list(names))
  end
  if alpn then
    r:option("alpn", out.list(alpn))
  end
end

local function target_text(result, entry)
  local host = entry:take("host", "string")
  if entry:take("is_unix", "boolean") and host then
    entry:take("port", "string")
    return out.quote("unix:" .. host)
  end
  local port, why = port_of(result, entry)
  if host and port then
    return out.quote(hostport(host, port))
  end
  return nil, host and why or "has no host"
end

local function route_options(r, entry, path, globals)
  local most, proxy = entry:take("max_connections", "number"), entry:take("proxyprotocol", "number")
  local transparent = entry:take("transparent", "boolean")
  local seconds, node = entry:take("udp_timeout", "number")
  if most then
    r:option("max_connections", format("%d", most))
  end
  if proxy then
    r:option("send_proxy", format('"v%d"', proxy), "proxyprotocol")
  end
  if transparent or (transparent == nil and globals.transparent) then
    r:option("transparent", "true")
  end
  if seconds and r.is_udp then
    r:option("idle_timeout", out.seconds(seconds), "udp_timeout")
  elseif seconds then
    r:lost(path .. "udp_timeout", node, "had no effect on TCP")
  end
  lose(r, entry, PROTOCOL_LOST, path)
end

-- What the entry is recognised by: Lua expressions, one a route.
local function recognisers(result, entry, name, is_udp)
  if name == "regex" then
    return regex.protocols(result, entry:take_strings "regex_patterns" or {}, is_udp and "udp" or "tcp")
  elseif name == "anyprot" then
    return { { proto = "rx.any", builtin = "any" } }
  end
  local known = NAMES[name]
  local proto, why = nil, format("sslh has no probe %s", out.quote(name))
  if known then
    proto, why = result:protocol(known)
  end
  return { { proto = proto, builtin = known, why = why, shown = "rx." .. (known or name) } }
end

local function read_protocol(result, entry, index, globals, routes)
  local path = format("protocols[%d].", index)
  local name, node = entry:take("name", "string")
  if not name then
    return
  end
  name = lower(name)
  local is_udp = entry:take("is_udp", "boolean")
  local to, why = target_text(result, entry)
  if not globals.targets[name] then
    globals.targets[name] = to
  end
  if name == "timeout" then -- on-timeout refers to it
    lose(result.head, entry, PROTOCOL_LOST, path)
    if not to then
      result.head:comment("%sport (line %d): %s", path, node.line, why)
    end
    return
  end
  local list = recognisers(result, entry, name, is_udp)
  for i, item in ipairs(list) do
    local r = out.route(item.proto or item.shown or "rx.any", format("%s, line %d", name, node.line))
    r.is_udp, r.is_off = is_udp or false, not item.proto or not to
    if i == 1 then
      tls_conditions(r, entry)
    end
    r.is_any, r.to = item.builtin == "any", to
    if item.builtin and not r.is_off then
      r:narrow(item.builtin, is_udp and "udp" or "tcp")
    end
    r:option("to", to or out.quote "?")
    for _, text in ipairs { item.why or "", not to and why or "" } do
      if text ~= "" then
        r:comment("%s%s: %s", path, name, text)
      end
    end
    if i == 1 then
      route_options(r, entry, path, globals)
    end
    routes[#routes + 1] = r
  end
end

-- on-timeout: who says nothing goes there, as if it had been recognised.
local function silent_route(result, root, globals)
  local wanted, node = root:take("on-timeout", "string")
  if not wanted then
    wanted, node = root:take("on_timeout", "string")
  end
  wanted = lower(wanted or "ssh")
  local to = globals.targets[wanted]
  if not to then
    if node then
      result.head:lost("on-timeout", node, "no protocol of that name has a target")
    end
    return nil
  end
  local origin = node and format("on-timeout, line %d", node.line) or "on-timeout: ssh, unless said otherwise"
  local r = out.route("rx.silent", origin)
  r.is_udp = false
  r:option("to", to)
  return r
end

local function only(routes, is_udp)
  local list = {}
  for _, r in ipairs(routes) do
    if r.is_udp == is_udp then
      list[#list + 1] = r
    end
  end
  return list
end

-- anyprot takes whoever comes to it: it is the fallback, and what stands behind it was never asked. One with options
-- that only a route has stays a route.
local function take_fallback(routes)
  local fallback
  for i = #routes, 1, -1 do
    local r = routes[i]
    if r.is_any and not r.is_off and #r.lines <= 2 then -- its transport and its target
      for k = i + 1, #routes do
        routes[k].is_off = true
        routes[k]:comment("stood behind anyprot, which took everything")
      end
      fallback = { to = r.to, origin = r.origin }
      remove(routes, i)
    end
  end
  return fallback
end

-- Who says nothing is told apart before rx.any takes everybody.
local function first_any(routes)
  for i, r in ipairs(routes) do
    if r.is_any then
      return i
    end
  end
  return #routes + 1
end

local function globals_of(result, root)
  local globals = { transparent = root:take("transparent", "boolean"), targets = {} }
  local user, sessions = root:take("user", "string"), root:take("udp_max_connections", "number")
  if user then
    result.server:option("user", out.quote(user))
  end
  lose(result.head, root, GLOBAL_LOST, "")
  globals.sessions = sessions
  globals.timeout = root:take("timeout", "number")
  return globals
end

local function joined(a, b)
  local list = {}
  for _, routes in ipairs { a, b } do
    for _, r in ipairs(routes) do
      list[#list + 1] = r
    end
  end
  return list
end

local function write_group(result, group, lists, any, globals, seen)
  local has_tcp, has_udp, addresses = group[1].tcp, group[1].udp, {}
  for i, place in ipairs(group) do
    addresses[i] = place.address
  end
  local listen = result:listen(addresses, lists[has_tcp and has_udp and "both" or has_udp and "udp" or "tcp"])
  listen.is_udp = not has_tcp
  if globals.timeout and has_tcp then
    listen:option("peek_timeout", out.seconds(globals.timeout), "timeout")
  end
  if globals.sessions and has_udp then
    listen:option("max_sessions", format("%d", globals.sessions), "udp_max_connections")
  end
  for _, kind in ipairs { has_tcp and "tcp" or "", has_udp and "udp" or "" } do
    if any[kind] then
      listen:option("fallback_" .. kind, any[kind].to, any[kind].origin)
    end
  end
  listen_options(listen, group, seen)
end

function M.convert(root, result)
  local globals, routes, places = globals_of(result, root), {}, {}
  local listen_list, protocol_list = root:child("listen", "list"), root:child("protocols", "list")
  for i, entry in ipairs(protocol_list and protocol_list.items or {}) do
    if entry.kind == "table" then
      read_protocol(result, entry, i, globals, routes)
    end
  end
  for i, entry in ipairs(listen_list and listen_list.items or {}) do
    if entry.kind == "table" then
      read_listen(result, entry, i, places)
    end
  end
  local tcp, udp = only(routes, false), only(routes, true)
  local any = { tcp = take_fallback(tcp), udp = take_fallback(udp) }
  local silent = silent_route(result, root, globals)
  if silent then
    insert(tcp, first_any(tcp), silent)
  end
  local lists, seen = { tcp = tcp, udp = udp, both = joined(tcp, udp) }, {}
  for _, group in ipairs(grouped(places)) do
    write_group(result, group, lists, any, globals, seen)
  end
end

M.glob = glob

return M
