-- SPDX-License-Identifier: MIT
-- What ships: one row per built-in protocol. The program says which of them are there (door.builtin_name); this
-- table adds what validation, the reference and the editor annotations want to know about each. A test compares it
-- with core/proto.c and core/proto/.
-- facts: the conditions a route on that protocol may carry besides those every route may.

local M = {}

local function row(name, transport, facts, doc)
  M[#M + 1] = { name = name, transport = transport, facts = facts, doc = doc }
end

local NAMED = { "sni", "alpn", "ech" }

row("tls", "tcp", NAMED, "TLS 1.0 to 1.3, HTTPS among them (alias `https`)")
row("http", "tcp", { "host", "path", "method" }, "HTTP/1.x, and HTTP/2 without TLS")
row("ssh", "tcp", { "software" }, "SSH, every client")
row("sftp", "tcp", { "software" }, "SSH clients whose software string names a file-transfer program")
row("vnc", "tcp", {}, "VNC; its clients wait for the server's greeting")
row("xmpp", "tcp", { "host" }, "XMPP (Jabber)")
row("mqtt", "tcp", {}, "MQTT 3.1 to 5")
row("rdp", "tcp", {}, "Remote Desktop")
row("socks5", "tcp", {}, "SOCKS 5")
row("socks4", "tcp", { "host" }, "SOCKS 4 and 4a")
row("postgres", "tcp", {}, "PostgreSQL")
row("dns", "both", { "qname", "qtype" }, "DNS queries")
row("mysql", "tcp", {}, "MySQL and MariaDB; their clients wait for the server's greeting")
row("openvpn", "both", {}, "OpenVPN")
row("redis", "tcp", {}, "Redis")
row("smtp", "tcp", {}, "SMTP; its clients wait for the server's greeting")
row("imap", "tcp", {}, "IMAP; its clients wait for the server's greeting")
row("ftp", "tcp", {}, "FTP clients that speak first")
row("pop3", "tcp", {}, "POP3; its clients wait for the server's greeting")
row("coap", "both", {}, "CoAP")
row("quic", "udp", NAMED, "QUIC, HTTP/3 among it: versions 1 and 2, drafts, and by their common header all others")
row("dtls", "udp", NAMED, "DTLS 1.0 to 1.3")
row("wireguard", "udp", {}, "WireGuard")
row("stun", "udp", {}, "STUN and TURN")
row("ntp", "udp", {}, "NTP")
row("rtp", "udp", {}, "RTP and RTCP; its routes belong after others, it has the least to be told by")
row("any", "both", {}, "whatever it is")
row("silent", "tcp", {}, "nothing said within `peek_timeout`: the client waits for the server")

M.by_name = {}
for i = 1, #M do
  M.by_name[M[i].name] = M[i]
end

---What a protocol, built in or not, is spoken over: "tcp", "udp" or "both".
---@param proto table its value
function M.transport_of(proto)
  local about = proto.is_builtin and M.by_name[proto.name] or proto.model
  return about and about.transport or "both"
end

---May a route on `name` carry the condition `fact`? A protocol this table does not know may carry anything.
function M.can_learn(name, fact)
  local proto = M.by_name[name]
  if not proto then
    return true
  end
  for i = 1, #proto.facts do
    if proto.facts[i] == fact then
      return true
    end
  end
  return false
end

---The condition under which clients of `name` say whom they want: "sni", "host", "qname", or nil.
function M.name_fact(name)
  for _, fact in ipairs { "sni", "host", "qname" } do
    if M.by_name[name] and M.can_learn(name, fact) then
      return fact
    end
  end
  return nil
end

---Names of the protocols that have the condition `fact`.
function M.having(fact)
  local names = {}
  for i = 1, #M do
    if M.can_learn(M[i].name, fact) then
      names[#names + 1] = M[i].name
    end
  end
  return names
end

return M
