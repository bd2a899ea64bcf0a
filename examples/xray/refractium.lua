-- Xray behind the port of a web site, and each account from one address at a time.
--
-- Everything comes in on 443. Clients of Xray know its server name; everybody else sees the web site. Xray writes down
-- who is active from where, and this program reads it there: the second address of an account is put out, on this port
-- and, by the kernel, on the UDP port that Xray serves itself (Hysteria2, for one).
--
-- In Xray: "acceptProxyProtocol": true in the inbound's sockopt, so that its log shows the clients' own addresses; an
-- "email" for each user; "access": "/var/log/xray/access.log". What the kernel does takes CAP_NET_ADMIN: copy
-- capabilities.conf into /etc/systemd/system/refractium.service.d.

local rx = require "refractium"

local accounts = rx.sessions "accounts" {
  max_ips = 1,
  window = "30s",                            -- about as long as the log is silent about somebody who is there
  timeout = "5m",
  limits = { ["family@example.com"] = 4 },
  exempt = { networks = "192.0.2.0/24" },    -- the office
  block_log = "/var/log/refractium/blocked.log",
  enforce = { "ban", "nftables", "conntrack" },
  dport = 8443,
  proto = "udp",
}

rx.tail "/var/log/xray/access.log" { parse = rx.xray, sessions = accounts }

rx.listen "0.0.0.0:443" {
  routes = {
    { rx.tls, sni = "cdn.example.com", to = "127.0.0.1:10443", send_proxy = "v2", name = "xray" },
    { rx.tls, to = "127.0.0.1:8443", name = "site" },
  },
  fallback_tcp = rx.refuse,
}

rx.listen "0.0.0.0:80" { routes = { { rx.http, to = "127.0.0.1:8080", name = "redirect" } } }

local function hello(name)
  local sni = "\0" .. string.char(0, #name) .. name
  local list = string.char(0, #sni) .. sni
  local extension = "\0\0" .. string.char(0, #list) .. list
  local body = "\3\3" .. ("r"):rep(32) .. "\0\0\2\19\1\1\0" .. string.char(0, #extension) .. extension
  local handshake = "\1\0" .. string.char(0, #body) .. body
  return "\22\3\1" .. string.char(0, #handshake) .. handshake
end

rx.test "the server name of Xray goes to Xray" {
  send = hello "cdn.example.com", listener = "0.0.0.0:443", expect = { route = "xray", to = "127.0.0.1:10443" },
}
rx.test "any other goes to the site" {
  send = hello "www.example.com", listener = "0.0.0.0:443", expect = { route = "site" },
}
rx.test "what is no TLS is refused" {
  send = "SSH-2.0-x\r\n", listener = "0.0.0.0:443", expect = { to = rx.refuse },
}
rx.test "port 80 redirects" {
  send = "GET / HTTP/1.1\r\nHost: cdn.example.com\r\n\r\n", listener = "0.0.0.0:80", expect = { route = "redirect" },
}
