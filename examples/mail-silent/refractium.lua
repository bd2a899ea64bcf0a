-- Mail beside the web. The clients of SMTP, IMAP, POP3, FTP, MySQL and VNC wait for the server's greeting, so on a
-- shared port the only thing to tell them by is their silence, after peek_timeout.
--
-- Two ways out of that: one server-first protocol on the shared port, and ports of their own for the others.

local rx = require "refractium"

-- One shared port. A route on rx.smtp takes clients that say EHLO at once (few do) and those that say nothing.
rx.listen "0.0.0.0:443" {
  peek_timeout = "1s",           -- every mail client waits this long for its greeting
  max_pending = 1000,            -- the silent must not fill the process
  max_connections_per_ip = 20,
  routes = {
    { rx.tls,  to = "127.0.0.1:8443" },
    { rx.http, to = "127.0.0.1:8080" },
    { rx.smtp, to = "127.0.0.1:25" },
  },
}

-- Ports of their own: rx.any as the first route needs no byte, so nobody waits.
rx.listen { "0.0.0.0:25", "0.0.0.0:143" } {
  routes = {
    { rx.any, to_port = 25,  to = { "127.0.0.1:2525", { "127.0.0.1:2526", backup = true } }, name = "smtp" },
    { rx.any, to_port = 143, to = "unix:/run/dovecot/imap", name = "imap" },
  },
}

rx.test "a mail client waits for its greeting" {
  silent = true, expect = { protocol = rx.smtp, to = "127.0.0.1:25" },
}

rx.test "so does telnet, until it speaks" {
  send = "EHLO client.example.com\r\n", expect = { protocol = rx.smtp, to = "127.0.0.1:25" },
}

rx.test "until then nothing is decided" {
  send = "EHLO", expect = { more = true },
}

rx.test "the web does not wait" {
  send = "GET / HTTP/1.1\r\nHost: example.com\r\n\r\n", expect = { to = "127.0.0.1:8080" },
}

rx.test "port 25 connects before a byte is said" {
  listener = "0.0.0.0:25", silent = true, expect = { route = "smtp" },
}

rx.test "what speaks, but is none of them, is turned away" {
  send = "\1\2\3\4\5\6\7\8", expect = { reason = "no_route" },
}
