-- refractium.lua: who may knock, and where each one goes.
--
-- This file is plain Lua and runs once per load: it declares. It takes effect when you save it; `refractium check`
-- tries it without touching a socket, `refractium explain FILE` shows which route some first bytes take and why. Every
-- option is in docs/reference/config.md, more on each chapter in docs/guide/; an editor with the Lua language server
-- knows them too.
--
-- As it stands nothing else has to run: what is recognised is told back to the client in its own protocol. Try each of
-- these on port 8080:
--
-- $ curl localhost:8080                                           HTTP
-- $ ssh -p 8080 localhost                                         SSH
-- $ openssl s_client -connect localhost:8080 -servername a.test   TLS
-- $ dig @localhost -p 8080 example.com                            DNS
-- $ echo hello | nc localhost 8080                                none of them
--
-- Lines that begin with two dashes and no space are examples: take the dashes away, and they are in force.

local rx = require "refractium"

-- The process ------------------------------------------------------------------------------------------------
-- All of it may be left out; these are the defaults.

rx.server {
  workers = "auto",          -- threads; one per core
  max_connections = 10000,   -- all listeners together
  drain_timeout = "30s",     -- how long connections may finish after SIGTERM
  --metrics = "127.0.0.1:9180",                       -- Prometheus, JSON and a dashboard
  --access_log = "/var/log/refractium/access.log",     -- a line for each connection; true: standard output
  --canary = { share = "5%", watch = "30s" },          -- some clients first; back if it fails
}

-- What can be recognised -------------------------------------------------------------------------------------
-- Built-in protocols are values: rx.tls, rx.http, rx.ssh, rx.dns, rx.quic, rx.wireguard, rx.postgres, rx.mqtt, ...
-- Besides them there are rx.web (TLS and QUIC together), rx.silent (says nothing within peek_timeout) and rx.any. Your
-- own are one call: bytes it begins with, bytes that are anywhere, a function, or all three.

--local game = rx.protocol "game" {
--  transport = "tcp",                         -- "tcp", "udp" or "both"
--  prefix    = { "GAME1", "GAME2" },          -- how it begins; decided without running any Lua
--  identify  = function(buf)                  -- asked only then: true, false, rx.more, or true and a key
--    if #buf < 8 then return rx.more end
--    return buf:u16(6) <= 512
--  end,
--  samples   = { yes = { "GAME1 \0\16" }, no = { "GAME1 \255\255" } },   -- tried on every load
--}

-- Where it can go --------------------------------------------------------------------------------------------
-- A pool shares the load between backends. Where one address is enough, write the address itself in `to`.

--local web = rx.pool "web" {
--  "10.0.0.1:443",
--  { "10.0.0.2:443", weight = 2 },            -- twice as often
--  { "10.0.0.3:443", backup = true },         -- only when no other is left
--  balance = "least_conn",
--  health  = { check = "tls", every = "2s", fall = 3 },
--}

-- Watching, counting, limiting -------------------------------------------------------------------------------
-- Hooks see connections without delaying them; a filter stands in the flow. rx.counter and rx.gauge appear in /metrics,
-- rx.shared is a table that all workers see, rx.every runs now and then, rx.ban keeps an address out.

--local clients = rx.counter "clients_total" { labels = { "protocol" } }
--local watch = rx.hook "watch" {
--  on_close = function(conn, why)
--    clients:inc(conn.protocol or "unknown")
--    rx.log.info("closed", { why = why, client = conn.client.ip, bytes = conn.bytes_out })
--  end,
--}

-- One account, one address: whoever is active from more of them at once is put out.
--local accounts = rx.sessions "accounts" {
--  by = function(conn) return conn.sni end,   -- who a connection is
--  max_ips = 1, window = "5s", timeout = "1m",
--}

-- Who goes where: the first route that fits takes the connection ----------------------------------------------

rx.listen "0.0.0.0:8080" {
  max_connections_per_ip = 50,   -- per client address; mind many clients behind one NAT
  peek_timeout = "3s",           -- how long a client may take to say who it is
  peek_buffer_size = "16k",      -- how much of what it says is looked at
  --rate_per_ip = { "50/s", burst = 100 },                  -- new connections
  --proxy_protocol = { from = { "10.0.0.0/8" } },           -- a proxy in front tells who the client is
  --hooks = { watch },

  routes = {
    -- Conditions narrow a route down; all of them must hold, of a list one.
    --{ rx.tls,  sni = "*.vpn.example.com", sessions = accounts, to = "10.0.0.4:443" },
    --{ rx.web,  sni = { "example.com", "*.example.com" }, to = web },
    --{ rx.http, host = "api.example.com", path = "/v1/", to = { "10.0.0.9:3001", "10.0.0.10:3001" } },
    --{ rx.http, host = "old.example.com", to = "10.0.0.11:80", mirror = "10.0.0.12:80", send_proxy = "v2" },
    --{ rx.ssh,  from = "10.0.0.0/8", to = "127.0.0.1:22", idle_timeout = "1d" },
    --{ rx.ssh,  during = "Mon-Fri 08:00-18:00", max_connections = 10, to = "10.0.0.5:22" },
    --{ rx.ssh,  from = "198.51.100.0/24", to = rx.tarpit },
    --{ rx.dns,  qname = "*.internal", to = "10.0.0.53:53" },
    --{ rx.wireguard, to = "10.0.0.6:51820" },
    --{ rx.postgres, when = function(conn) return conn.client.port > 1023 end, to = "10.0.0.7:5432" },
    --{ game,    to = function(conn) return conn.client.ip:sub(1, 3) == "10." and "127.0.0.1:9000" or rx.refuse end },

    -- An action instead of a backend: rx.respond says what was recognised, rx.respond "text" sends these bytes;
    -- rx.refuse resets, rx.drop closes without a word, rx.tarpit holds, rx.echo sends back what comes.
    { rx.http,   to = rx.respond },
    { rx.tls,    to = rx.respond },
    { rx.ssh,    to = rx.respond },
    { rx.dns,    to = rx.respond },
    { rx.silent, to = rx.respond },
  },

  -- What no route takes. Answering unknown UDP would let anybody bounce datagrams off this host at a forged
  -- address, so those are dropped; without a fallback everything unrecognised is.
  fallback_tcp = rx.respond,
  fallback_udp = rx.drop,
}

-- What must hold: run on every load, and by `refractium check` ------------------------------------------------
-- A test says what a client sends and what must come of it, by the very code that serves real clients. A config that
-- fails one is not taken.

rx.test "a browser is recognised" {
  send = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n",
  expect = { protocol = rx.http, to = rx.respond },
}

rx.test "a request that arrives in pieces is waited for" {
  send = { "GE" },
  expect = { more = true },
}

rx.test "an SSH client is recognised" {
  send = "SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
  expect = { protocol = rx.ssh, to = rx.respond },
}

rx.test "a DNS query is recognised" {
  transport = "udp",
  send = "\18\52\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1",   -- A? example.com
  expect = { protocol = rx.dns, to = rx.respond },
}

rx.test "a client that waits for the server" {
  silent = true,
  expect = { protocol = rx.silent, to = rx.respond },
}

rx.test "bytes of no known protocol take the fallback" {
  send = "\255\254\253\252 no such protocol\r\n",
  expect = { to = rx.respond },
}
