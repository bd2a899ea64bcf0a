-- One address for a website with HTTP/3, two kinds of VPN and a name server: TCP and UDP 443, and 53.
--
--   refractium -c examples/web-and-vpn/refractium.lua check
--
-- Networks that let nothing out but port 443 let WireGuard and OpenVPN out, too, when they are there.

local rx = require "refractium"

-- One pool for HTTPS and HTTP/3: its checks say of both whether the machine is there.
local web = rx.pool "web" {
  "10.0.0.11:443", "10.0.0.12:443",
  balance = "source_ip",      -- what came by TCP and what comes by QUIC reach the same server
  health = { check = "tls", sni = "www.example.com", every = "2s" },
}

local resolvers = rx.pool "resolvers" { "10.0.0.53:53", "10.0.0.54:53", balance = "least_conn" }

rx.listen "*:443" {
  max_connections_per_ip = 200, max_sessions_per_ip = 200,
  routes = {
    { rx.web, sni = { "example.com", "*.example.com" }, to = web },
    { rx.wireguard, to = "10.0.0.7:51820", idle_timeout = "5m" },
    { rx.openvpn,   to = "10.0.0.8:1194", idle_timeout = "5m" },   -- over UDP and over TCP
  },
  fallback_udp = rx.drop,      -- never answer datagrams that nobody asked for
}

rx.listen "*:53" {
  udp_idle_timeout = "10s",
  routes = { { rx.dns, to = resolvers } },
}

-- Tests -------------------------------------------------------------------------------------------------------

rx.test "a WireGuard handshake" {
  listener = "*:443", transport = "udp", send = "\1\0\0\0" .. ("x"):rep(144), expect = { to = "10.0.0.7:51820" },
}

rx.test "an OpenVPN client begins" {
  listener = "*:443", transport = "udp", send = "\56" .. ("s"):rep(8) .. "\0\0\0\0\0", expect = { to = "10.0.0.8:1194" },
}

local query = "\18\52\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1"

rx.test "a query by UDP" {
  listener = "*:53", transport = "udp", send = query, expect = { protocol = "dns", to = resolvers },
}

rx.test "and by TCP" {
  listener = "*:53", send = "\0" .. string.char(#query) .. query, expect = { protocol = "dns", to = resolvers },
}

rx.test "noise on 443 is nobody's" {
  listener = "*:443", transport = "udp", send = ("\0"):rep(40), expect = { to = rx.drop },
}
