-- SPDX-License-Identifier: MIT
-- rpxy-l4's config.toml.

local out = require "refractium.import.out"

local ipairs, next, tonumber = ipairs, next, tonumber
local find, format, lower, match = string.find, string.format, string.lower, string.match
local concat, sort = table.concat, table.sort

local M = { title = "config.toml of rpxy-l4" }

-- Every key there is, with the reason where it has no equivalent. docs/guide/migrating.md has a row for each.
M.keys = {
  "listen_port", "listen_ipv6", "listen_address_v4", "listen_address_v6", "tcp_backlog", "tcp_max_connections",
  "udp_max_connections", "tcp_target", "tcp_load_balance", "udp_target", "udp_load_balance", "udp_idle_lifetime",
  "dns_cache_min_ttl", "dns_cache_max_ttl", "tcp_send_proxy_protocol", "tcp_recv_proxy_protocol",
  "tcp_trusted_proxies", "protocols.*.protocol", "protocols.*.target", "protocols.*.load_balance",
  "protocols.*.server_names", "protocols.*.alpn", "protocols.*.alpns", "protocols.*.idle_lifetime",
  "protocols.*.send_proxy_protocol", "protocols.*.ech.ech_config_list", "protocols.*.ech.private_keys",
  "protocols.*.ech.private_server_names",
}

local PROTOCOLS = {
  tls = "tls", http = "http", ssh = "ssh", socks5 = "socks5", quic = "quic", wireguard = "wireguard",
}
local IS_UDP = { quic = true, wireguard = true }
local SECONDS = { s = 1, m = 60, h = 3600, d = 86400 }
local BALANCE = { source_ip = "source_ip", source_socket = "source_socket", random = "random", none = "first" }

local function lost(block, table, key, path, why)
  local node = table:child(key)
  if node and not node.is_used then
    block:lost(path, node:use(), why)
  end
end

-- Several targets and no word about them: the first one, there.
local function target(result, name, list, table, balance_key, defaults, send_proxy)
  local word = table:take(balance_key, "string") or "none"
  return result:target(name, list, {
    balance = BALANCE[word] or "first", balance_origin = format("%s = %s", balance_key, word),
    ttl = defaults.ttl, ttl_origin = "dns_cache_min_ttl, dns_cache_max_ttl",
    send_proxy = send_proxy, proxy_origin = "tcp_send_proxy_protocol",
  })
end

-- "20s", "2h": as it is written here, within what is possible here.
local function ttl_of(listen, root)
  local parts = {}
  for _, bound in ipairs { "min", "max" } do
    local key = format("dns_cache_%s_ttl", bound)
    local node = root:child(key)
    local n, unit = match(node and node.kind == "string" and node.value or "", "^(%d+)%s*([smhd])$")
    if n and tonumber(n) > 0 and tonumber(n) * SECONDS[unit] <= SECONDS.d then
      parts[#parts + 1] = format('%s = "%d%s"', bound, n, unit)
      node:use()
    elseif node then
      listen:lost(key, node:use(), "a time such as 30s belongs here, a day at most; names are looked up again by their"
        .. " own time to live")
    end
  end
  return parts[1] and "{ " .. concat(parts, ", ") .. " }"
end

local function bracketed(host)
  return find(host, ":", 1, true) and not find(host, "^%[") and "[" .. host .. "]" or host
end

local function addresses(root)
  local port = root:take("listen_port", "number") or 0
  local v4, v6 = root:take_strings "listen_address_v4", root:take_strings "listen_address_v6"
  local has_v6 = root:take("listen_ipv6", "boolean")
  if not v4 and not v6 and has_v6 then
    return { format("*:%d", port) }
  end
  local list = {}
  for _, host in ipairs(v4 or { "0.0.0.0" }) do
    list[#list + 1] = format("%s:%d", host, port)
  end
  for _, host in ipairs(v6 or has_v6 and { "::" } or {}) do
    list[#list + 1] = format("%s:%d", bracketed(host), port)
  end
  return list
end

local function ech(r, table, path)
  local ech_table = table:child("ech", "table")
  if not ech_table then
    return
  end
  for _, key in ipairs(ech_table.keys) do
    local node = ech_table.map[key]:use()
    if key == "private_keys" then
      node.items, node.text = nil, "(not shown)"
    end
    r:lost(format("%s.ech.%s", path, key), node, "encrypted hellos are not opened; clients that offer one take this"
      .. " route by their outer name")
  end
end

local function has_word(word)
  return word and lower(word) ~= "none" and lower(word) or nil
end

local function send_proxy(r, word, origin)
  if has_word(word) then
    r:option("send_proxy", out.quote(has_word(word)), origin)
  end
end

local function conditions(r, table)
  local names = table:take_strings "server_names"
  local alpn = table:take_strings "alpn"
  local alpns, node = table:take_strings "alpns"
  if names then
    r:option("sni", out.list(names))
  end
  if alpns and not alpn then
    r:comment("alpns (line %d) is what their documentation calls it; their program reads only alpn", node.line)
  end
  if alpn or alpns then
    r:option("alpn", out.list(alpn or alpns))
  end
  return (names and 2 or 0) + ((alpn or alpns) and 1 or 0)
end

local function idle(block, option, seconds, origin)
  if seconds == 0 then
    block:comment("%s = 0 ended sessions at once: left out", origin)
  elseif seconds then
    block:option(option, out.seconds(seconds), origin)
  end
end

local function route(result, name, table, defaults)
  local path = format("protocols.%s", name)
  local to = table:child("protocol", "string") and table:take_strings "target"
  if not to then
    return nil
  end
  local word, word_node = table:take("protocol", "string")
  word = lower(word)
  local proto, why = nil, "no such protocol there"
  if PROTOCOLS[word] then
    proto, why = result:protocol(PROTOCOLS[word])
  end
  local r = out.route(proto or "rx." .. word, format("%s, line %d", path, word_node.line))
  r.is_off = not proto
  if not proto then
    r:comment("%s: %s", path, why)
  end
  r.rank = conditions(r, table)
  r:option("to", target(result, name, to, table, "load_balance", defaults))
  local own_proxy, proxy_node = table:take("send_proxy_protocol", "string")
  local lifetime, lifetime_node = table:take("idle_lifetime", "number")
  if IS_UDP[word] then
    idle(r, "idle_timeout", lifetime, "idle_lifetime")
    if own_proxy then
      r:lost(path .. ".send_proxy_protocol", proxy_node, "had no effect on UDP")
    end
  else
    send_proxy(r, own_proxy or defaults.send_proxy, own_proxy and "send_proxy_protocol" or "tcp_send_proxy_protocol")
    if lifetime then
      r:lost(path .. ".idle_lifetime", lifetime_node, "had no effect on TCP")
    end
  end
  ech(r, table, path)
  return r
end

-- There, names and ALPN together go before names, names before ALPN, and both before neither; their order in the
-- file is lost. Here the order of routes decides.
local function by_rank(a, b)
  if a.rank ~= b.rank then
    return a.rank > b.rank
  end
  return a.index < b.index
end

local function proxy_in(listen, root)
  local is_on, node = root:take("tcp_recv_proxy_protocol", "boolean")
  local trusted, trusted_node = root:take_strings "tcp_trusted_proxies"
  if is_on and trusted then
    listen:option("proxy_protocol", format("{ from = { %s } }", (out.list(trusted):gsub("^{ (.*) }$", "%1"))),
      "tcp_recv_proxy_protocol, tcp_trusted_proxies")
  elseif is_on then
    listen:lost("tcp_recv_proxy_protocol", node, "their program asks for tcp_trusted_proxies with it")
  elseif trusted then
    listen:lost("tcp_trusted_proxies", trusted_node, "tcp_recv_proxy_protocol is not on")
  end
end

local function fallbacks(result, listen, root, defaults)
  for _, kind in ipairs { "tcp", "udp" } do
    local to = root:take_strings(kind .. "_target")
    if to then
      local proxy = kind == "tcp" and has_word(defaults.send_proxy) or nil
      listen:option("fallback_" .. kind,
        target(result, kind .. "_target", to, root, kind .. "_load_balance", defaults, proxy))
    end
    lost(listen, root, kind .. "_load_balance", kind .. "_load_balance", format("there is no %s_target", kind))
  end
end

local function listener(result, root, routes, defaults)
  local listen = result:listen(addresses(root), routes)
  local most, sessions = root:take("tcp_max_connections", "number"), root:take("udp_max_connections", "number")
  if most then
    listen:option("max_connections", format("%d", most), "tcp_max_connections")
  end
  if sessions then
    listen:option("max_sessions", format("%d", sessions), "udp_max_connections")
  end
  proxy_in(listen, root)
  idle(listen, "udp_idle_timeout", root:take("udp_idle_lifetime", "number"), "udp_idle_lifetime")
  defaults.ttl = ttl_of(listen, root)
  fallbacks(result, listen, root, defaults)
  lost(listen, root, "tcp_backlog", "tcp_backlog", "as large here as net.core.somaxconn allows")
  return listen
end

function M.convert(root, result)
  local routes = {}
  local defaults = { send_proxy = root:take("tcp_send_proxy_protocol", "string") }
  local listen = listener(result, root, routes, defaults)
  local protocols = root:child("protocols", "table")
  for i, name in ipairs(protocols and protocols.keys or {}) do
    local table = protocols:child(name, "table")
    local r = table and next(table.map) and route(result, name, table, defaults)
    if r then
      r.index = i
      routes[#routes + 1] = r
    end
  end
  sort(routes, by_rank)
  if defaults.ttl and not result.has_names then
    listen:comment("dns_cache_min_ttl, dns_cache_max_ttl: ttl = %s of rx.pool; no target is a name", defaults.ttl)
  end
end

return M
