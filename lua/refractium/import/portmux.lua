-- SPDX-License-Identifier: MIT
-- PortMux's config.yaml.

local out = require "refractium.import.out"

local ipairs = ipairs
local find, format, gmatch, gsub, match = string.find, string.format, string.gmatch, string.gsub, string.match

local M = { title = "config.yaml of PortMux" }

-- Every key there is. docs/guide/migrating.md has a row for each.
M.keys = {
  "PORTMUX.ip", "PORTMUX.port", "HTTP.*.port", "HTTP.*.priority", "HTTPS.*.port", "HTTPS.*.priority",
  "OPENVPN.tcp.port", "OPENVPN.tcp.priority", "OPENVPN.udp.port", "OPENVPN.udp.priority", "OPENVPN.default",
  "OPENVPN.priority", "SSH.default", "SSH.priority", "SFTP.default", "SFTP.priority", "USER.*.port",
  "USER.*.priority",
}

local PREFIXES_MAX = 512

local function to_port(port)
  return out.quote(format("127.0.0.1:%d", port))
end

-- "default": 22, or default: { port: 22, priority: both }; the priority may stand beside it.
local function target(table, key)
  local entry = table:child(key)
  if not entry then
    return nil
  elseif entry.kind == "number" then
    return table:take(key, "number"), table:take("priority", "string"), entry
  elseif entry.kind == "table" and entry:child("port", "number") then
    return entry:take("port", "number"), entry:take("priority", "string"), entry
  end
end

local function route(result, proto_name, path, table, key)
  local port, priority, node = target(table, key)
  if not port then
    return nil
  end
  local proto, why = result:protocol(proto_name)
  local r = out.route(proto or "rx." .. proto_name, format("%s, line %d", path, node.line))
  if not proto then
    r.is_off = true
    r:comment("%s: %s", path, why)
  end
  return r, port, priority
end

local function finish(r, port, priority)
  r:option("to", to_port(port))
  if priority then
    r:option("priority", out.quote(priority), "priority", priority)
  end
end

-- A key was looked for in all of the request (or in the name of the hello), so it took the names below it too.
local function name_condition(r, key, condition)
  local host = match(key, "^([%w.-]+):%d+$") or key
  if find(host, "^[%d.]+$") then
    r:option(condition, out.quote(host))
  elseif find(host, "^[%w_-]+%.[%w_.-]+$") then
    r:option(condition, out.list { host, "*." .. host })
  else
    r:option(condition, out.quote("~" .. gsub(key, "[^%w]", "\\%0")))
    r:comment("%q was looked for in all of the first bytes; here in the %s alone", key, condition)
  end
end

local function named(result, routes, root, section, proto, condition)
  local table = root:child(section, "table")
  local default
  for _, key in ipairs(table and table.keys or {}) do
    local r, port, priority = route(result, proto, format("%s.%s", section, key), table, key)
    if r then
      if key ~= "default" then
        name_condition(r, key, condition)
        routes[#routes + 1] = r
      else
        default = r
      end
      finish(r, port, priority)
    end
  end
  routes[#routes + 1] = default
end

local function single(result, routes, root, section, key, proto)
  local table = root:child(section, "table")
  if not table then
    return
  end
  local r, port, priority = route(result, proto, format("%s.%s", section, key), table, key)
  if r then
    finish(r, port, priority)
    routes[#routes + 1] = r
  end
end

-- "default" is for the transport that has no entry of its own; their program served TCP alone.
local function openvpn(result, routes, root)
  local table = root:child("OPENVPN", "table")
  local has_tcp = table and target(table, "tcp")
  for _, key in ipairs { "tcp", "udp", "default" } do
    local r, port, priority
    if table then
      r, port, priority = route(result, "openvpn", "OPENVPN." .. key, table, key)
    end
    if r then
      if key == "default" and has_tcp then
        r:comment("OPENVPN.default: OPENVPN.tcp takes all of it")
        r.is_off = true
      end
      if not r.is_off then
        r:narrow("openvpn", key == "udp" and "udp" or "tcp")
      end
      finish(r, port, priority)
      routes[#routes + 1] = r
    end
  end
end

-- "[abc][12]": one of each, one after the other; all the beginnings that makes, or nil when they are too many.
local function beginnings(key)
  local list = { "" }
  if not find(key, "^[^%[%]]*%[") or gsub(gsub(key, "%[[^%[%]]+%]", ""), "[^%[%]]", "") ~= "" then
    return { key }
  end
  for class, literal in gmatch(key, "%[?([^%[%]]*)(%]?)") do
    local grown = {}
    for _, before in ipairs(class ~= "" and list or {}) do
      if literal == "]" then
        for c in gmatch(class, ".") do
          grown[#grown + 1] = before .. c
        end
      else
        grown[#grown + 1] = before .. class
      end
    end
    list = class ~= "" and grown or list
    if #list > PREFIXES_MAX then
      return nil
    end
  end
  return list
end

local function user(result, listen, routes, root)
  local table = root:child("USER", "table")
  for _, key in ipairs(table and table.keys or {}) do
    local port, priority, node = target(table, key)
    local list = port and key ~= "default" and beginnings(key)
    if port and key == "default" then
      listen:option("fallback_tcp", to_port(port), format("USER.default, line %d", node.line))
    elseif list then
      local name = result:own_protocol("user", { "transport = \"tcp\",", format("prefix = %s,", out.list(list)) },
        { format("USER.%q, line %d: taken as the beginning of what the client says", key, node.line) })
      local r = out.route(name, format("USER, line %d", node.line))
      finish(r, port, priority)
      routes[#routes + 1] = r
    elseif port then
      listen:comment("USER.%q (line %d) to port %d: too many beginnings; write rx.protocol with identify", key,
        node.line, port)
    end
  end
end

function M.convert(root, result)
  local table = root:child("PORTMUX", "table") or root.table(1)
  local routes = {}
  local listen = result:listen({ format("%s:%d", table:take("ip", "string") or "0.0.0.0",
    table:take("port", "number") or 8080) }, routes)
  named(result, routes, root, "HTTP", "http", "host")
  named(result, routes, root, "HTTPS", "tls", "sni")
  single(result, routes, root, "SFTP", "default", "sftp")
  single(result, routes, root, "SSH", "default", "ssh")
  openvpn(result, routes, root)
  user(result, listen, routes, root)
end

return M
