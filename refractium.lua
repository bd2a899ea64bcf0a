-- refractium.lua: who may knock, and where each one goes.
--
-- This file is plain Lua and runs once per load: it declares. `refractium check` tries it without touching a
-- socket, `refractium explain FILE` shows which route some first bytes take and why. Every option is described in
-- docs/reference/config.md; an editor with the Lua language server knows them too.
--
-- As it stands nothing else has to run: what is recognised is told back to the client in its own protocol.
-- Try each of these on port 8080:
--
--   curl localhost:8080                                           HTTP
--   ssh -p 8080 localhost                                         SSH
--   openssl s_client -connect localhost:8080 -servername a.test   TLS
--   dig +tcp @localhost -p 8080 example.com                       DNS
--   echo hello | nc localhost 8080                                none of them

local rx = require "refractium"

-- The process ------------------------------------------------------------------------------------------------
-- All of it may be left out; these are the defaults.

rx.server {
  workers = "auto",          -- threads; one per core
  max_connections = 10000,   -- all listeners together
  drain_timeout = "30s",     -- how long connections may finish after SIGTERM
  -- access_log = "/var/log/refractium/access.log",   -- true: standard output
}

-- What can be recognised -------------------------------------------------------------------------------------
-- Built-in protocols are values: rx.tls, rx.http, rx.ssh, rx.dns, rx.postgres, rx.mqtt, rx.socks5, ... Besides them
-- there are rx.silent (says nothing within peek_timeout) and rx.any. Your own are one call:

-- local game = rx.protocol "game" {
--   transport = "tcp",
--   prefix    = { "GAME1", "GAME2" },         -- first bytes; one of these
--   patterns  = { "\x01\x02\x03" },           -- or bytes anywhere in the first `within` bytes
--   within    = "1k",
--   samples   = { yes = { "GAME1 hello" }, no = { "GET / HTTP/1.1\r\n" } },   -- tried on every load
-- }

-- Where it can go --------------------------------------------------------------------------------------------
-- A pool shares the load between backends. Where one address is enough, write the address itself in `to`.

-- local web = rx.pool "web" {
--   "10.0.0.1:80",
--   { "10.0.0.2:80", weight = 2 },            -- twice as often
--   { "10.0.0.3:80", backup = true },         -- only when no other is left
-- }

-- Who goes where: the first route that fits takes the connection ----------------------------------------------

rx.listen "0.0.0.0:8080" {
  max_connections_per_ip = 50,   -- per client address; mind many clients behind one NAT
  peek_timeout = "3s",           -- how long a client may take to say who it is
  peek_buffer_size = "16k",      -- how much of what it says is looked at

  routes = {
    -- Conditions narrow a route down; all of them must hold, of a list one.
    -- { rx.tls,  sni = { "example.com", "*.example.com" }, to = "10.0.0.1:443" },
    -- { rx.tls,  alpn = "h2", to = "10.0.0.2:443" },
    -- { rx.http, host = "api.example.com", path = "/v1/", to = { "10.0.0.9:3001", "10.0.0.10:3001" } },
    -- { rx.ssh,  from = "10.0.0.0/8", to = "127.0.0.1:22", idle_timeout = "1d" },
    -- { rx.ssh,  to = rx.tarpit },
    -- { rx.dns,  qname = "*.internal", to = "10.0.0.53:53" },
    -- { rx.postgres, from = "10.0.0.0/8", to = "10.0.0.5:5432" },
    -- { game,    to = "127.0.0.1:9000" },

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
-- A test says what a client sends and what must come of it, by the very code that serves real clients.

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
  send = "\0\29\18\52\1\0\0\1\0\0\0\0\0\0\7example\3com\0\0\1\0\1",   -- A? example.com
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
