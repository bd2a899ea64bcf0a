# SPDX-License-Identifier: MIT
"""Which route takes a connection: names, conditions, order, fallbacks."""
import socket

import pytest

import peers
import wire
from harness import free_port

pytestmark = pytest.mark.sanitize


def ask(p, first, **how):
    """What the backend behind `first` calls itself; "" when the connection was closed instead."""
    with p.connect(**how) as s:
        try:
            s.sendall(first)
            return s.recv(100).decode()
        except (ConnectionResetError, BrokenPipeError):
            return ""


@pytest.fixture
def named(backends):
    """named("a", "b") starts backends that answer with their names; returns them quoted for a config."""
    def start(*names):
        return [backends(peers.named(name)).quoted for name in names]

    return start


def test_names_are_matched_without_regard_to_case(rx, named):
    """Promise: SNI and Host are compared as DNS names are: case and a trailing dot do not count."""
    a, b = named("a", "b")
    p = rx('{ rx.tls, sni = "Mixed.Example.TEST", to = %s }, { rx.http, host = "mixed.example.test", to = %s }' % (a, b))
    for name in ("mixed.example.test", "MIXED.EXAMPLE.TEST", "mIxEd.eXaMpLe.TeSt", "mixed.example.test."):
        assert ask(p, wire.hello(name)) == "a", name
        assert ask(p, wire.get(name)) == "b", name
        assert ask(p, wire.get(name + ":8443")) == "b", name
    assert ask(p, wire.hello("mixed.example.tes")) == ""
    assert ask(p, wire.get("xmixed.example.test")) == ""


def test_wildcard_names(rx, named):
    """Promise: "*.suffix" is any depth below the suffix, not the suffix itself, and exact names elsewhere win by order."""
    wild, exact = named("wild", "exact")
    p = rx('{ rx.tls, sni = "one.w.test", to = %s }, { rx.tls, sni = "*.w.test", to = %s }' % (exact, wild))
    assert ask(p, wire.hello("one.w.test")) == "exact"
    assert ask(p, wire.hello("two.w.test")) == "wild"
    assert ask(p, wire.hello("a.b.c.W.TEST")) == "wild"
    assert ask(p, wire.hello("two.w.test.")) == "wild"
    for name in ("w.test", ".w.test", "xw.test", "w.test.evil", None):
        assert ask(p, wire.hello(name)) == "", name


def test_a_wildcard_before_an_exact_name_wins(rx, named):
    """Promise: first match wins, whatever is more specific."""
    wild, exact = named("wild", "exact")
    p = rx('{ rx.tls, sni = "*.w.test", to = %s }, { rx.tls, sni = "one.w.test", to = %s }' % (wild, exact))
    assert ask(p, wire.hello("one.w.test")) == "wild"


def test_names_by_list_and_regex(rx, named):
    """Promise: of a list one must hold; "~" begins a regular expression."""
    a, b = named("a", "b")
    p = rx('{ rx.tls, sni = { "x.test", "*.y.test" }, to = %s }, { rx.tls, sni = "~^v[0-9]+\\\\.test$", to = %s }' % (a, b))
    for name, wants in (("x.test", "a"), ("q.y.test", "a"), ("v12.test", "b"), ("v.test", ""), ("av1.test", "")):
        assert ask(p, wire.hello(name)) == wants, name


def test_an_unmatched_name_falls_to_the_next_route_and_then_the_fallback(rx, named):
    """Promise: an SNI no route names does not close; the next matching route or the fallback takes it."""
    a, rest, fallback = named("a", "rest", "fallback")
    p = rx('{ rx.tls, sni = "a.test", to = %s }, { rx.tls, to = %s }' % (a, rest))
    assert ask(p, wire.hello("other.test")) == "rest"
    assert ask(p, wire.hello(None)) == "rest"
    p = rx('{ rx.tls, sni = "a.test", to = %s }' % a, options="fallback_tcp = %s," % fallback)
    assert ask(p, wire.hello("other.test")) == "fallback"
    assert ask(p, wire.hello(None)) == "fallback"
    assert ask(p, wire.hello("a.test")) == "a"


def test_the_servers_fallback_serves_listeners_without_one(rx, named):
    """Promise: fallback_tcp may stand in rx.listen or, for all listeners, in rx.server."""
    own, common = named("own", "common")
    p = rx.config("""local rx = require "refractium"
        rx.server { fallback_tcp = %s, workers = 1 }
        rx.listen "127.0.0.1:0" { fallback_tcp = %s, routes = { { rx.ssh, to = "127.0.0.1:1" } } }
        rx.listen "127.0.0.2:0" { routes = { { rx.ssh, to = "127.0.0.1:1" } } }""" % (common, own), binds=2)
    assert ask(p, wire.GARBAGE, port=p.ports[0]) == "own"
    assert ask(p, wire.GARBAGE, host="127.0.0.2", port=p.ports[1]) == "common"


def test_identified_as_one_protocol_is_never_sent_to_another_ones_backend(rx, backends):
    """Promise: sanitising. A name condition that fails never makes TLS go to the HTTP or SSH backend."""
    names = ("http", "ssh", "dns", "postgres", "redis", "mqtt", "socks5", "socks4", "openvpn", "rdp", "xmpp", "ftp")
    others = {name: backends(peers.named(name)) for name in names}
    p = rx('{ rx.tls, sni = "only.test", to = "127.0.0.1:1" },'
           + "".join("{ rx.%s, to = %s }," % (n, b.quoted) for n, b in others.items()),
           options='peek_timeout = "300ms",')
    for first in (wire.hello("other.test"), wire.hello(None), wire.broken_hello(), b"\x16" * 300,
                  wire.hello("x.test")[:40] + b"\0" * 40):
        assert ask(p, first) == "", first[:20]
    assert [n for n, b in others.items() if b.n_accepted] == []
    assert {line["reason"] for line in p.access(5)} <= {"no_route", "tls_invalid"}


def test_dns_takes_queries_and_nothing_else(rx, named):
    """Promise: the DNS route does not take WireGuard, zeros, TLS hellos or SSH, whatever the order of routes."""
    dns, rest = named("dns", "rest")
    p = rx("{ rx.dns, to = %s }" % dns, options='fallback_tcp = %s, peek_timeout = "300ms",' % rest)
    assert ask(p, wire.dns_query()) == "dns"
    assert ask(p, wire.dns_query("a.very.long.name.example.org", 28)) == "dns"
    for first in (b"\x01\0\0\0" + bytes(144), bytes(64), wire.hello("a.test"), wire.SSH, wire.get(), b"\xff" * 128):
        assert ask(p, first) == "rest", first[:10]


def test_dns_by_name_and_type(rx, named):
    """Promise: qname and qtype narrow a DNS route."""
    inner, v6, rest = named("inner", "v6", "rest")
    p = rx('{ rx.dns, qname = "*.internal", to = %s }, { rx.dns, qtype = "AAAA", to = %s }, { rx.dns, to = %s }'
           % (inner, v6, rest))
    assert ask(p, wire.dns_query("db.INTERNAL")) == "inner"
    assert ask(p, wire.dns_query("example.com", 28)) == "v6"
    assert ask(p, wire.dns_query("example.com", 1)) == "rest"


def test_alpn_chooses_between_routes(rx, named):
    """Promise: `alpn` holds when the client offers it, at whatever place of its list; names and ALPN work at once."""
    h2, h1, rest = named("h2", "h1", "rest")
    p = rx('{ rx.tls, sni = "a.test", alpn = "h2", to = %s }, { rx.tls, alpn = "http/1.1", to = %s }, { rx.tls, to = %s }'
           % (h2, h1, rest))
    assert ask(p, wire.hello("a.test", alpn=["h2", "http/1.1"])) == "h2"
    assert ask(p, wire.hello("a.test", alpn=["http/1.1", "h2"])) == "h2"
    assert ask(p, wire.hello("b.test", alpn=["h2", "http/1.1"])) == "h1"
    assert ask(p, wire.hello("a.test", alpn=["acme-tls/1"])) == "rest"
    assert ask(p, wire.hello("a.test")) == "rest"
    assert ask(p, wire.hello("a.test", alpn=["h2c", "h"])) == "rest"


def test_http_conditions(rx, named):
    """Promise: host, path (prefix) and method all must hold."""
    api, post, web = named("api", "post", "web")
    p = rx('{ rx.http, host = "api.test", path = "/v1/", to = %s }, { rx.http, method = "POST", to = %s },'
           '{ rx.http, host = { "api.test", "*.w.test" }, to = %s }' % (api, post, web))
    assert ask(p, wire.get("api.test", "/v1/users")) == "api"
    assert ask(p, wire.get("api.test:80", "/v1/")) == "api"
    assert ask(p, wire.get("api.test", "/v2/")) == "web"
    assert ask(p, wire.get("x.w.test", "/v1/")) == "web"
    assert ask(p, b"POST /v2/ HTTP/1.1\r\nHost: api.test\r\n\r\n") == "post"
    assert ask(p, wire.get("evil.test", "/?api.test")) == ""


def test_a_host_is_the_host_header_and_no_other_text(rx, named):
    """Promise: names match the Host header alone, not bytes anywhere in the request."""
    a, rest = named("a", "rest")
    p = rx('{ rx.http, host = "a.test", to = %s }, { rx.http, to = %s }' % (a, rest))
    assert ask(p, wire.get("b.test", "/a.test", more="Referer: http://a.test/\r\nX-Host: a.test\r\n")) == "rest"
    assert ask(p, b"GET / HTTP/1.1\r\nX-Forwarded-Host: a.test\r\nhOsT:\t a.TEST \r\n\r\n") == "a"
    assert ask(p, b"GET / HTTP/1.0\r\n\r\n") == "rest"


def test_ssh_by_software(rx, named):
    """Promise: `software` is how the client calls itself; sftp is SSH by a file-transfer program."""
    old, files, rest = named("old", "files", "rest")
    p = rx('{ rx.ssh, software = "putty", to = %s }, { rx.sftp, to = %s }, { rx.ssh, to = %s }' % (old, files, rest))
    assert ask(p, b"SSH-2.0-PuTTY_Release_0.78\r\n") == "old"
    assert ask(p, b"SSH-2.0-WinSCP_release_5.21.5\r\n") == "files"
    assert ask(p, wire.SSH) == "rest"


def test_from_and_not_from(rx, named):
    """Promise: `from` and `not_from` compare the client's address."""
    near, far = named("near", "far")
    p = rx('{ rx.ssh, from = "127.0.0.2", to = %s }, { rx.ssh, not_from = { "127.0.0.3", "127.0.1.0/24" }, to = %s }'
           % (near, far))
    for source, wants in (("127.0.0.2", "near"), ("127.0.0.4", "far"), ("127.0.0.3", ""), ("127.0.1.9", "")):
        assert ask(p, wire.SSH, source=(source, 0)) == wants, source


def test_a_listener_route_by_port(rx, named):
    """Promise: to_port is the port the client came to."""
    a, b = named("a", "b")
    first, second = free_port(), free_port()
    p = rx("{ rx.ssh, to_port = %d, to = %s }, { rx.ssh, to = %s }" % (second, b, a), binds=2,
           listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (first, second))
    assert ask(p, wire.SSH, port=first) == "a"
    assert ask(p, wire.SSH, port=second) == "b"


def test_an_own_protocol_by_prefix_and_patterns(rx, named):
    """Promise: a protocol is declared by its first bytes or by bytes anywhere in the first `within` bytes."""
    game, late, rest = named("game", "late", "rest")
    p = rx("{ game, to = %s }, { late, to = %s }, { rx.http, to = %s }" % (game, late, rest), prelude="""
        local game = rx.protocol "game" { transport = "tcp", prefix = { "GAME1", "GAME2" },
          samples = { yes = { "GAME1 hello" }, no = { "GET / HTTP/1.1\\r\\n" } } }
        local late = rx.protocol "late" { transport = "tcp", patterns = { "\\1\\2\\3", "MY_V1" }, within = "64b" }""",
           options='peek_timeout = "300ms",')
    assert ask(p, b"GAME2 x") == "game"
    assert ask(p, b"\xfe" * 30 + b"MY_V1") == "late"
    assert ask(p, b"\xfe" * 62 + b"MY_V1") == ""
    with p.connect() as s:
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GAME1":
            s.sendall(bytes([byte]))
        assert s.recv(10) == b"game"


def test_a_route_that_waits_holds_back_those_after_it(rx, named):
    """Promise: a route still waiting for bytes holds back those after it."""
    first, second = named("first", "second")
    p = rx("{ rx.ssh, to = %s }, { short, to = %s }" % (first, second),
           prelude='local short = rx.protocol "short" { transport = "tcp", prefix = "SSH" }',
           options='peek_timeout = "5s",')
    with p.connect() as s:
        s.sendall(b"SSH-")
        s.settimeout(0.3)
        with pytest.raises(socket.timeout):
            s.recv(10)
        s.settimeout(5)
        s.sendall(b"2.0-x\r\n")
        assert s.recv(10) == b"first"
    assert ask(p, b"SSHX nonsense") == "second"


def test_any_takes_everything_at_once(rx, named):
    """Promise: rx.any needs no byte: even a client that waits for the server is connected at once."""
    everything = named("hello")[0]
    p = rx("{ rx.any, to = %s }" % everything, options='peek_timeout = "10s",')
    for first in (wire.GARBAGE, wire.get(), wire.hello("a.test"), b"\0"):
        assert ask(p, first) == "hello"


def test_any_first_lets_the_server_speak_first(rx, backends):
    """Promise: as above."""
    greeter = backends(peers.greet(b"220 hi\r\n"))
    p = rx("{ rx.any, to = %s }" % greeter.quoted, options='peek_timeout = "10s",')
    with p.connect(timeout=5) as s:
        assert peers.read_exactly(s, 8) == b"220 hi\r\n"


def test_a_server_first_protocol_takes_the_silent(rx, backends):
    """Promise: a route on a server-speaks-first protocol takes clients that wait."""
    for name in ("smtp", "mysql", "vnc"):
        greeter = backends(peers.greet(name.encode()))
        p = rx('{ rx.http, to = "127.0.0.1:1" }, { rx.%s, to = %s }' % (name, greeter.quoted),
               options='peek_timeout = "150ms",')
        with p.connect() as s:
            assert peers.read_exactly(s, len(name)) == name.encode()
