-- Port 443 for the web and for ssh, and a second listener for plain HTTP.
--
--   refractium -c examples/web-and-ssh/refractium.lua check
--
-- TLS is passed through, not terminated: the web servers keep their certificates. Where a network lets nothing out
-- but port 443, `ssh -p 443 host` gets through all the same.

local rx = require "refractium"

local web = rx.pool "web" { "10.0.0.11:443", "10.0.0.12:443", { "10.0.0.13:443", backup = true } }

rx.listen "*:443" {
  max_connections_per_ip = 100,
  routes = {
    { rx.tls, sni = "git.example.com",                      to = "10.0.0.20:443" },
    { rx.tls, sni = { "example.com", "*.example.com" },     to = web },
    { rx.ssh, from = { "198.51.100.0/24", "2001:db8::/32" }, to = "127.0.0.1:22", idle_timeout = "1d" },
    { rx.ssh, name = "ssh from elsewhere",                  to = rx.tarpit, max_connections = 200 },
  },
  -- TLS without a name, or with one that is not ours, and everything else: closed and counted.
}

rx.listen "*:80" {
  max_connections_per_ip = 100,
  routes = {
    { rx.http, path = "/.well-known/acme-challenge/", to = "10.0.0.30:80", name = "acme" },
    { rx.http, to = { "10.0.0.11:80", "10.0.0.12:80" } },
  },
}

-- Tests -------------------------------------------------------------------------------------------------------

-- What a TLS client says first, as short as it can be.
local function be16(n) return string.char(math.floor(n / 256), n % 256) end
local function sized(s) return be16(#s) .. s end
local function hello(name)
  local extensions = name and be16(0) .. sized(sized("\0" .. sized(name))) or ""
  local body = "\3\3" .. ("r"):rep(32) .. "\0" .. sized("\19\1") .. "\1\0" .. sized(extensions)
  return "\22\3\1" .. sized("\1\0" .. sized(body))
end

rx.test "the site goes to the pool" {
  send = hello "www.example.com", expect = { protocol = rx.tls, to = web },
}

rx.test "git has a server of its own" {
  send = hello "git.example.com", expect = { to = "10.0.0.20:443" },
}

rx.test "a hello cut in two is waited for" {
  send = { hello("www.example.com"):sub(1, 40) }, expect = { more = true },
}

rx.test "a name that is not ours is turned away" {
  send = hello "other.example.net", expect = { reason = "no_route" },
}

rx.test "ssh from the office" {
  send = "SSH-2.0-OpenSSH_9.2p1\r\n", from = "198.51.100.7", expect = { to = "127.0.0.1:22" },
}

rx.test "ssh from elsewhere waits for ever" {
  send = "SSH-2.0-OpenSSH_9.2p1\r\n", expect = { to = "tarpit", route = "ssh from elsewhere" },
}

rx.test "certificates can be renewed" {
  listener = "*:80",
  send = "GET /.well-known/acme-challenge/x HTTP/1.1\r\nHost: example.com\r\n\r\n",
  expect = { route = "acme" },
}
