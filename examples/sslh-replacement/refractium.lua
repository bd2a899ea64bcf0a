-- What an sslh set-up usually is: ssh, TLS, OpenVPN, XMPP and HTTP on port 443, the silent to ssh.
--
--   sslh --listen 0.0.0.0:443 --ssh … --tls … --openvpn … --xmpp … --http … --on-timeout ssh
--
-- There, an ssh client that waits for the server's banner is sent to ssh after `timeout`; here that is rx.silent.

local rx = require "refractium"

rx.listen "0.0.0.0:443" {
  peek_timeout = "2s",
  routes = {
    { rx.ssh,     to = "127.0.0.1:22" },
    { rx.openvpn, to = "127.0.0.1:1194" },
    { rx.xmpp,    to = "127.0.0.1:5222" },
    { rx.http,    to = "127.0.0.1:80" },
    { rx.tls, alpn = "xmpp-client", to = "127.0.0.1:5223" },
    { rx.tls,     to = "127.0.0.1:8443" },
    { rx.socks5,  to = "127.0.0.1:1080" },
    { rx.silent,  to = "127.0.0.1:22" },
  },
  fallback_tcp = "127.0.0.1:8443",   -- anyprot
}

rx.test "ssh" { send = "SSH-2.0-PuTTY_Release_0.80\r\n", expect = { protocol = rx.ssh, to = "127.0.0.1:22" } }

rx.test "an ssh client that waits for the banner" { silent = true, expect = { to = "127.0.0.1:22" } }

rx.test "openvpn without a key" {
  send = "\0\14\56abcdefgh\0\0\0\0\0", expect = { protocol = rx.openvpn },
}

rx.test "jabber" {
  send = "<?xml version='1.0'?><stream:stream to='example.com' xmlns='jabber:client'>",
  expect = { protocol = rx.xmpp, to = "127.0.0.1:5222" },
}

rx.test "http" { send = "GET / HTTP/1.0\r\n\r\n", expect = { to = "127.0.0.1:80" } }

rx.test "socks" { send = "\5\1\0", expect = { to = "127.0.0.1:1080" } }

rx.test "anything else" { send = "\255\255\255\255", expect = { to = "127.0.0.1:8443" } }
