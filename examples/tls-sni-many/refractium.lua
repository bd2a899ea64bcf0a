-- Many names behind one address: exact names, wildcards, a regular expression, ALPN, and a default.
--
-- The config is Lua, so a table of sites becomes routes in a loop. Names are looked up in a hash table: a thousand
-- cost what one costs. The most particular come first, because the first route that fits takes the connection.

local rx = require "refractium"

local sites = {
  { "shop.example.com",    "10.0.1.10:443" },
  { "shop.example.org",    "10.0.1.10:443" },
  { "blog.example.com",    "10.0.1.11:443" },
  { "*.apps.example.com",  "10.0.1.12:443" },
  { "*.example.com",       "10.0.1.13:443" },   -- any name below, at any depth; not example.com itself
}

local mail = rx.pool "mail" { "10.0.1.20:993", { "10.0.1.21:993", weight = 2 } }
local acme = "10.0.1.30:443"

local routes = {
  -- Certificates are renewed over TLS whatever name they are for (RFC 8737).
  { rx.tls, alpn = "acme-tls/1", to = acme },
  { rx.tls, sni = "mail.example.com", alpn = { "imap", "pop3" }, to = mail },
}
for _, site in ipairs(sites) do
  routes[#routes + 1] = { rx.tls, sni = site[1], to = site[2] }
end
routes[#routes + 1] = { rx.tls, sni = "~^(dev|test)-[0-9]+\\.example\\.net$", to = "10.0.1.14:443" }
routes[#routes + 1] = { rx.tls, to = "10.0.1.1:443", name = "default" }   -- no name, or one that is not listed

rx.listen { "0.0.0.0:443", "[::]:443" } {
  peek_buffer_size = "32k",
  routes = routes,
}

-- Tests -------------------------------------------------------------------------------------------------------

-- What a TLS client says first, as short as it can be.
local function be16(n) return string.char(math.floor(n / 256), n % 256) end
local function sized(s) return be16(#s) .. s end
local function extension(kind, body) return be16(kind) .. sized(body) end
local function hello(name, alpn)
  local extensions = name and extension(0, sized("\0" .. sized(name))) or ""
  if alpn then
    extensions = extensions .. extension(16, sized(string.char(#alpn) .. alpn))
  end
  local body = "\3\3" .. ("r"):rep(32) .. "\0" .. sized("\19\1") .. "\1\0" .. sized(extensions)
  return "\22\3\1" .. sized("\1\0" .. sized(body))
end

for name, where in pairs {
  ["shop.example.com"] = "10.0.1.10:443",
  ["SHOP.example.ORG"] = "10.0.1.10:443",        -- case does not matter
  ["a.b.apps.example.com"] = "10.0.1.12:443",
  ["anything.example.com"] = "10.0.1.13:443",
  ["mail.example.com"] = "10.0.1.13:443",        -- without alpn it is just another name
  ["test-42.example.net"] = "10.0.1.14:443",
  ["example.com"] = "10.0.1.1:443",              -- not below itself
  ["who.example.net"] = "10.0.1.1:443",
} do
  rx.test(name) { send = hello(name), expect = { to = where } }
end

rx.test "no name takes the default" { send = hello(), expect = { route = "default" } }

rx.test "imap over TLS" { send = hello("mail.example.com", "imap"), expect = { to = mail } }

rx.test "a certificate is renewed" { send = hello("shop.example.com", "acme-tls/1"), expect = { to = acme } }

rx.test "a broken hello is not a hello without a name" {
  send = "\22\3\1\0\5\2\0\0\1\0", expect = { reason = "tls_invalid" },
}
