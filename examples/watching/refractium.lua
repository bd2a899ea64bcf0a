-- Watching what is served: every connection counted and written down, and one site's requests sent to a second backend
-- as well, to see how a new version takes them.

local rx = require "refractium"

rx.server { metrics = "127.0.0.1:9180" }

local ended = rx.counter "ended_total" { help = "Connections by how they ended.", labels = { "route", "why" } }
local refusals = rx.shared "refusals" { max_entries = 10000, ttl = "10m" }

-- Runs on a thread of its own: it delays nobody, and what it is too slow for is counted in conn.lost.
local watch = rx.hook "watch" {
  on_close = function(conn, why)
    ended:inc(conn.route or "fallback", why)
    if why == "refused" and refusals:incr(conn.client.ip) > 100 then
      rx.ban(conn.client.ip, "10m")
    end
  end,
}

rx.listen "0.0.0.0:8080" {
  hooks = { watch },
  routes = {
    -- The mirror hears what clients say; its answers are thrown away, and it never delays the flow.
    { rx.http, name = "shop", host = "shop.example.com", to = "10.0.0.1:80", mirror = "10.0.0.2:80" },
    { rx.http, name = "web",  to = "10.0.0.1:80" },
  },
  fallback_tcp = rx.refuse,
}

rx.test "the shop goes to its backend; the mirror changes nothing about that" {
  send = "GET /cart HTTP/1.1\r\nHost: shop.example.com\r\n\r\n",
  expect = { protocol = rx.http, route = "shop", to = "10.0.0.1:80" },
}

rx.test "another site goes the same way, without a mirror" {
  send = "GET / HTTP/1.1\r\nHost: www.example.com\r\n\r\n",
  expect = { route = "web", to = "10.0.0.1:80" },
}

rx.test "a request whose Host is still to come is waited for" {
  send = "GET /cart HTTP/1.1\r\nHo",
  expect = { more = true },
}

rx.test "who speaks no HTTP is refused" {
  send = "\255\255\255\255",
  expect = { to = rx.refuse },
}
