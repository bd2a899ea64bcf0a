-- SPDX-License-Identifier: MIT
-- refractium.toml, of the program of the same name written in Rust.

local out = require "refractium.import.out"

local ipairs = ipairs
local find, format, lower = string.find, string.format, string.lower

local M = { title = "refractium.toml" }

local PEEK_SIZE = 16384 -- this program's default

-- Every key there is. docs/guide/migrating.md has a row for each.
M.keys = {
  "server.bind", "server.port", "server.max_connections", "server.max_connections_per_ip", "server.peek_timeout_ms",
  "server.peek_buffer_size", "server.hot_reload", "protocols.name", "protocols.patterns", "protocols.sni",
  "protocols.forward_to", "protocols.transport", "fallback_tcp", "fallback_udp",
}

local BUILTIN = { http = "http", https = "tls", ssh = "ssh", dns = "dns", ftp = "ftp" }

-- Their patterns are text; \xHH in one stood for a byte already when TOML was read.
local function protocol(result, name, patterns, transport)
  if patterns then
    local fields = { format("patterns = %s,", out.list(patterns)) }
    if transport then
      fields[2] = format("transport = %s,", out.quote(transport))
    end
    return result:own_protocol(name, fields, { "Bytes that always come first are better as prefix than as patterns." })
  end
  if not BUILTIN[name] then
    return nil, "a name without patterns that is none of http, https, ssh, dns and ftp"
  end
  return result:protocol(BUILTIN[name])
end

local function route(result, entry, path)
  local to = entry:child("name", "string") and entry:take_strings "forward_to"
  if not to then
    return nil
  end
  local name, name_node = entry:take("name", "string")
  name = lower(name)
  local patterns = entry:take_strings "patterns"
  local transport, transport_node = entry:take("transport", "string")
  transport = transport and lower(transport)
  local is_narrow = transport == "tcp" or transport == "udp"
  local proto, why = protocol(result, name, patterns, is_narrow and transport or nil)
  local r = out.route(proto, format("%s, line %d", path, name_node.line))
  if not proto then
    r.is_off, r.proto = true, "rx." .. name
    r:comment("%s: %s", name, why)
  end
  local sni, sni_node = entry:take("sni", "string")
  if sni and name == "https" and not patterns then
    r:option("sni", out.quote(sni))
  elseif sni then
    r:lost(path .. ".sni", sni_node, "only https routes were told apart by it")
  end
  r:option("to", out.list(to))
  if is_narrow and not patterns and proto then
    r:narrow(BUILTIN[name], transport, format("transport, line %d", transport_node.line))
  end
  return r
end

local function server(result, listen, table)
  local most = table:take("max_connections", "number")
  if most then
    result.server:option("max_connections", format("%d", most))
  end
  local reload = table:take("hot_reload", "boolean")
  if reload ~= nil then
    result.server:option("hot_reload", reload and "true" or "false")
  end
  listen:option("max_connections_per_ip", format("%d", table:take("max_connections_per_ip", "number") or 50),
    not table:child "max_connections_per_ip" and "the default there; here there is no limit unless it is given" or nil)
  local timeout = table:take("peek_timeout_ms", "number")
  if timeout then
    listen:option("peek_timeout", out.milliseconds(timeout))
  end
  local size, node = table:take("peek_buffer_size", "number")
  if size and size > PEEK_SIZE then
    listen:option("peek_buffer_size", format('"%db"', size))
  elseif size then
    listen:lost("peek_buffer_size", node, "left at 16k: a ceiling here, and hellos of today's browsers need more")
  end
end

local function fallback(listen, key, at_top, in_server)
  local target = at_top:take(key, "string")
  if target then
    listen:option(key, out.quote(target))
    return
  end
  target = in_server:take(key, "string") -- where their guide puts it, and their program does not look
  if target then
    listen:option(key, out.quote(target), "stood under [server], where it had no effect")
  end
end

function M.convert(root, result)
  local table = root:child("server", "table") or root.table(1)
  local bind, port = table:take("bind", "string") or "0.0.0.0", table:take("port", "number") or 8080
  local host = find(bind, ":", 1, true) and not find(bind, "^%[") and "[" .. bind .. "]" or bind
  local routes = {}
  local listen = result:listen({ format("%s:%d", host, port) }, routes)
  server(result, listen, table)
  local list = root:child("protocols", "list")
  for i, entry in ipairs(list and list.items or {}) do
    routes[#routes + 1] = route(result, entry, format("protocols[%d]", i))
  end
  fallback(listen, "fallback_tcp", root, table)
  fallback(listen, "fallback_udp", root, table)
end

return M
