-- One port for everything that runs on a developer's machine. No name has to be configured and nothing breaks when a
-- service is not running: its route falls back to a page that says so.
--
--   refractium -c examples/development/refractium.lua
--   curl localhost:8080 ; redis-cli -p 8080 ; psql -h localhost -p 8080 ; mosquitto_pub -p 8080 -t t -m m

local rx = require "refractium"

local port = os.getenv "PORT" or "8080"

rx.server { workers = 1, access_log = true, drain_timeout = "1s" }

rx.listen("127.0.0.1:" .. port) {
  connect_timeout = "1s",
  routes = {
    { rx.http, host = { "api.localhost", "*.api.localhost" }, to = "127.0.0.1:3001", fallback = rx.respond },
    { rx.http, name = "assets", path = { "/static/", "~\\.(css|js|png)$" },
      to = "127.0.0.1:5173", fallback = rx.respond },
    { rx.http,     to = "127.0.0.1:3000", fallback = rx.respond },
    { rx.tls,      to = "127.0.0.1:3443", fallback = rx.respond },
    { rx.redis,    to = "127.0.0.1:6379", fallback = rx.respond },
    { rx.postgres, to = { "unix:/var/run/postgresql/.s.PGSQL.5432", { "127.0.0.1:5432", backup = true } } },
    { rx.mqtt,     to = "127.0.0.1:1883", fallback = rx.respond },
    { rx.mysql,    to = "127.0.0.1:3306" },          -- its clients wait, so this takes the silent, too
  },
  fallback_tcp = rx.respond,
}

rx.test "the app" {
  send = "GET / HTTP/1.1\r\nHost: localhost:8080\r\n\r\n", expect = { to = "127.0.0.1:3000" },
}

rx.test "the api" {
  send = "GET /v1 HTTP/1.1\r\nHost: API.localhost:8080\r\n\r\n", expect = { to = "127.0.0.1:3001" },
}

rx.test "assets" {
  send = "GET /app.js HTTP/1.1\r\nHost: localhost\r\n\r\n", expect = { route = "assets" },
}

rx.test "redis-cli" { send = "*1\r\n$4\r\nPING\r\n", expect = { protocol = rx.redis } }

rx.test "psql asks for TLS first" { send = "\0\0\0\8\4\210\22\47", expect = { protocol = rx.postgres } }

rx.test "mosquitto" {
  send = "\16\14\0\4MQTT\4\2\0\60\0\2id", expect = { protocol = rx.mqtt, to = "127.0.0.1:1883" },
}

rx.test "mysql says nothing until greeted" { silent = true, expect = { to = "127.0.0.1:3306" } }

rx.test "what nobody knows is told so" { send = "\255\254\253\252", expect = { to = rx.respond } }
