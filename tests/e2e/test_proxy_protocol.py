# SPDX-License-Identifier: MIT
"""PROXY headers: read from proxies that are believed, sent to backends; with HAProxy, nginx and curl at the other end."""
import os
import re
import socket
import struct
import time

import pytest

import peers
import wire
from harness import PATIENCE, free_port, lua_string, run_binary, run_client, wait_for

pytestmark = pytest.mark.sanitize

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
FROM_LOOPBACK = 'proxy_protocol = { from = "127.0.0.1" },'


def line(client="203.0.113.9", port=4242, to="198.51.100.1", to_port=443):
    return b"PROXY TCP4 %s %s %d %d\r\n" % (client.encode(), to.encode(), port, to_port)


def tlv(kind, value):
    return struct.pack("!BH", kind, len(value)) + value


def binary(client="203.0.113.9", port=4242, to="198.51.100.1", to_port=443, tlvs=b"", command=0x21):
    v6 = ":" in client
    family = socket.AF_INET6 if v6 else socket.AF_INET
    body = socket.inet_pton(family, client) + socket.inet_pton(family, to) + struct.pack("!HH", port, to_port) + tlvs
    return SIGNATURE + bytes([command, 0x21 if v6 else 0x11]) + struct.pack("!H", len(body)) + body


def parse(data):
    """(version, source, destination, {type: value}, rest) of a header that was sent to a backend."""
    if data.startswith(b"PROXY "):
        head, rest = data.split(b"\r\n", 1)
        words = head.decode().split(" ")
        if words[1] == "UNKNOWN":
            return 1, None, None, {}, rest
        return 1, (words[2], int(words[4])), (words[3], int(words[5])), {}, rest
    assert data.startswith(SIGNATURE), data[:40]
    assert data[12] == 0x21
    size = struct.unpack("!H", data[14:16])[0]
    body, rest = data[16:16 + size], data[16 + size:]
    n = {0x00: 0, 0x11: 4, 0x12: 4, 0x21: 16}[data[13]]
    source = destination = None
    if n:
        family = socket.AF_INET if n == 4 else socket.AF_INET6
        ports = struct.unpack("!HH", body[2 * n:2 * n + 4])
        source = (socket.inet_ntop(family, body[:n]), ports[0])
        destination = (socket.inet_ntop(family, body[n:2 * n]), ports[1])
        body = body[2 * n + 4:]
    values = {}
    while body:
        kind, size = struct.unpack("!BH", body[:3])
        values[kind] = body[3:3 + size]
        body = body[3 + size:]
    return 2, source, destination, values, rest


def talk(p, data, **how):
    with p.connect(**how) as s:
        s.sendall(data)
        s.shutdown(socket.SHUT_WR)
        return peers.read_all(s)


# ---- in ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("header", [line(), binary(), binary(tlvs=tlv(0xEE, b"x" * 2000))], ids=["v1", "v2", "long"])
def test_the_client_is_who_the_header_says(rx, backends, header):
    """Conditions, the access log and the backend's bytes: the header is gone, the client is the carried one."""
    right, wrong = backends(peers.collect), backends(peers.collect)
    p = rx('{ rx.http, from = "203.0.113.0/24", to_port = 443, to = %s }, { rx.any, to = %s }' %
           (right.quoted, wrong.quoted), options=FROM_LOOPBACK)
    assert talk(p, header + wire.get("a.test")) == b"got %d" % len(wire.get("a.test"))
    assert right.wait_seen()[0] == wire.get("a.test")
    assert wrong.n_accepted == 0
    assert p.access_one()["client"] == "203.0.113.9:4242"


def test_a_header_of_ipv6_names_an_ipv6_client(rx, backends):
    b = backends(peers.collect)
    p = rx('{ rx.http, from = "2001:db8::/32", to = %s }' % b.quoted, options=FROM_LOOPBACK)
    talk(p, binary("2001:db8::7", 1, "2001:db8::1", 2) + wire.get("a.test"))
    assert b.wait_seen()[0] == wire.get("a.test")
    assert p.access_one()["client"] == "[2001:db8::7]:1"


@pytest.mark.parametrize("header", [line(), binary(tlvs=tlv(5, b"id"))], ids=["v1", "v2"])
def test_a_header_may_be_cut_at_any_byte(rx, backends, header):
    b = backends(peers.collect)
    p = rx('{ rx.http, from = "203.0.113.9", to = %s }' % b.quoted, options=FROM_LOOPBACK)
    whole = header + wire.get("a.test")
    socks = []
    for at in range(1, len(header) + 8):
        s = p.connect()
        s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        s.sendall(whole[:at])
        socks.append((s, at))
    time.sleep(0.2)
    for s, at in socks:
        s.sendall(whole[at:])
        s.shutdown(socket.SHUT_WR)
    for s, at in socks:
        assert peers.read_all(s) == b"got %d" % len(wire.get("a.test")), at
        s.close()


def test_a_header_byte_by_byte_before_a_silent_client(rx, backends):
    """A header may come alone; who then says nothing is rx.silent."""
    b = backends(peers.greet(b"220 hello\r\n"))
    p = rx('{ rx.silent, from = "203.0.113.9", to = %s }' % b.quoted, options=FROM_LOOPBACK + 'peek_timeout = "300ms",')
    with p.connect() as s:
        for i in line():
            s.sendall(bytes([i]))
        assert s.recv(100) == b"220 hello\r\n"


def test_a_route_for_everybody_needs_no_byte_behind_the_header(rx, backends):
    b = backends(peers.greet(b"220 hello\r\n"))
    p = rx('{ rx.any, to = %s }' % b.quoted, options=FROM_LOOPBACK + 'peek_timeout = "60s",')
    with p.connect() as s:
        s.sendall(line())
        assert s.recv(100) == b"220 hello\r\n"


def test_who_is_not_believed_is_not_read(rx, backends):
    """From elsewhere a header is ordinary first bytes: no protocol's."""
    b = backends(peers.collect)
    p = rx("{ rx.http, to = %s }" % b.quoted, options='proxy_protocol = { from = { "192.0.2.0/24", "unix" } },')
    assert talk(p, line() + wire.get("a.test")) == b""
    found = p.access_one()
    assert found["client"].startswith("127.0.0.1:") and found["reason"] == "no_route"
    assert b.n_accepted == 0


@pytest.mark.parametrize("data,why", [
    (wire.get("a.test"), "proxy_missing"), (b"PROXY TCP4 1.2.3 1.2.3.4 1 2\r\n", "proxy_invalid"),
    (b"PROXY " + b"x" * 200, "proxy_invalid"), (SIGNATURE + b"\x31\x11\0\0", "proxy_invalid"),
    (binary(tlvs=tlv(3, b"\1\2\3\4")), "proxy_invalid"), (b"PROXY TCP4", "proxy_invalid"), (b"", "client_gone")],
    ids=["none", "bad", "endless", "version", "checksum", "cut", "nothing"])
def test_a_proxy_without_a_good_header_is_turned_away(rx, backends, data, why):
    b = backends(peers.collect)
    p = rx("{ rx.any, to = %s }" % b.quoted, options=FROM_LOOPBACK)
    assert talk(p, data) == b""
    assert p.access_one()["reason"] == why
    assert b.n_accepted == 0


@pytest.mark.parametrize("data,why", [(b"", "proxy_missing"), (b"PROX", "proxy_invalid")], ids=["nothing", "half"])
def test_a_header_is_waited_for_no_longer_than_peek_timeout(rx, data, why):
    p = rx('{ rx.any, to = rx.echo }', options=FROM_LOOPBACK + 'peek_timeout = "200ms",')
    with p.connect() as s:
        s.sendall(data)
        began = time.monotonic()
        assert peers.read_all(s) == b""
        assert time.monotonic() - began < PATIENCE / 3
    assert p.access_one()["reason"] == why


@pytest.mark.parametrize("header", [b"PROXY UNKNOWN\r\n", SIGNATURE + b"\x20\0\0\0", binary(command=0x20)],
                         ids=["unknown", "local", "local-with-addresses"])
def test_a_header_without_addresses_leaves_the_socket_s(rx, header):
    p = rx('{ rx.any, from = "127.0.0.1", to = rx.echo }', options=FROM_LOOPBACK)
    assert talk(p, header + b"ping") == b"ping"
    assert p.access_one()["client"].startswith("127.0.0.1:")


def test_limits_per_address_count_the_carried_address(rx):
    """Two of one client fill its place; another client, by the same proxy, is let in."""
    p = rx("{ rx.any, to = rx.echo }", options=FROM_LOOPBACK + "max_connections_per_ip = 2,")
    held = [p.connect() for _ in range(2)]
    for s in held:
        s.sendall(line() + b"a")
        assert s.recv(1) == b"a"
    with p.connect() as third, p.connect() as other:
        third.sendall(line() + b"a")
        assert peers.how_it_ends(third) == ("reset", b"")
        other.sendall(line("203.0.113.10") + b"b")
        assert other.recv(1) == b"b"
    assert p.access(where=lambda l: l["reason"] == "limit_ip")[0]["client"] == "203.0.113.9:4242"
    for s in held:
        s.close()
    p.access(2, where=lambda l: l["client"] == "203.0.113.9:4242" and l["reason"] != "limit_ip")
    assert talk(p, line() + b"again") == b"again"


@pytest.mark.parametrize("over,end", [("refuse", "reset"), ("drop", "eof")])
def test_rates_per_address_count_the_carried_address(rx, over, end):
    p = rx("{ rx.any, to = rx.echo }", options=FROM_LOOPBACK + 'rate_per_ip = "2/h", over_limit = rx.%s,' % over)
    for _ in range(2):
        assert talk(p, line() + b"x") == b"x"
        assert talk(p, line("203.0.113.10") + b"y") == b"y"
    with p.connect() as s:
        s.sendall(line())
        assert peers.how_it_ends(s)[0] == end
    assert p.access(where=lambda l: l["reason"] == "rate_ip")[0]["client"] == "203.0.113.9:4242"


def test_a_ban_holds_for_the_carried_address(rx):
    p = rx("{ rx.any, to = rx.echo }", options=FROM_LOOPBACK)
    assert talk(p, line() + b"x") == b"x"
    run_binary("ban", "203.0.113.9", cwd=p.directory, env={"XDG_RUNTIME_DIR": p.directory})
    with p.connect() as s:
        s.sendall(line() + b"x")
        assert peers.how_it_ends(s) == ("reset", b"")
    assert talk(p, line("203.0.113.10") + b"y") == b"y"


SHOW = """{ rx.any, to = function(conn)
    local x = conn.proxy
    if not x then return rx.respond("none") end
    local ssl = x.ssl or {}
    return rx.respond(table.concat({ conn.client.ip, conn.client.port, conn.to_port, x.version, x.via,
        tostring(x.authority), tostring(x.alpn), tostring(x.unique_id), tostring(x.netns), tostring(x:tlv(0xEE)),
        tostring(ssl.is_tls), tostring(ssl.is_verified), tostring(ssl.version), tostring(ssl.cn) }, " "))
end }"""


def test_functions_see_what_the_header_said(rx):
    p = rx(SHOW, options=FROM_LOOPBACK)
    ssl = struct.pack("!BI", 7, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"alice")
    tlvs = tlv(2, b"a.test") + tlv(1, b"h2") + tlv(5, b"id-7") + tlv(0x30, b"blue") + tlv(0xEE, b"own") + tlv(0x20, ssl)
    assert talk(p, binary(tlvs=tlvs) + b"x") == (
        b"203.0.113.9 4242 443 2 127.0.0.1 a.test h2 id-7 blue own true true TLSv1.3 alice")
    assert talk(p, line() + b"x") == (
        b"203.0.113.9 4242 443 1 127.0.0.1 nil nil nil nil nil nil nil nil nil")


def test_functions_see_no_proxy_without_a_header(rx):
    p = rx(SHOW)
    assert talk(p, b"x") == b"none"


def test_hooks_see_what_the_header_said(rx):
    p = rx("{ rx.any, to = rx.echo, on_open = function(conn) seen:write(conn.client.ip .. ' ' .. conn.proxy.unique_id) end }",
           prelude='local seen = rx.file "seen.txt"', options=FROM_LOOPBACK)
    assert talk(p, binary(tlvs=tlv(5, b"id-7")) + b"x") == b"x"
    def text():
        try:
            with open(os.path.join(p.directory, "seen.txt"), "rb") as f:
                return f.read()
        except FileNotFoundError:
            return b""
    assert wait_for(text, what="the hook's file") == b"203.0.113.9 id-7"


def test_on_accept_sees_the_carried_address(rx):
    p = rx("{ rx.any, to = rx.echo }", options=FROM_LOOPBACK + """
        on_accept = function(conn) if conn.client.ip == "203.0.113.9" then return rx.refuse end end,""")
    with p.connect() as s:
        s.sendall(line() + b"x")
        assert peers.how_it_ends(s) == ("reset", b"")
    assert talk(p, line("203.0.113.10") + b"x") == b"x"


def test_clients_of_a_unix_socket_may_be_proxies(rx, workdir):
    path = os.path.join(str(workdir), "in.sock")
    p = rx('{ rx.any, from = "203.0.113.9", to = rx.echo }', listen=lua_string("unix:" + path),
           options='proxy_protocol = { from = "unix" },')
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(PATIENCE)
        s.connect(path)
        s.sendall(line() + b"ping")
        assert s.recv(100) == b"ping"


# ---- out -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("where", ["route", "pool"])
def test_a_backend_is_told_the_client(rx, backends, version, where):
    b = backends(peers.collect)
    say = 'send_proxy = "v%d"' % version
    if where == "route":
        p = rx("{ rx.http, to = %s, %s }" % (b.quoted, say))
    else:
        p = rx("{ rx.http, to = p }", prelude="local p = rx.pool 'p' { %s, %s }" % (b.quoted, say))
    with p.connect() as s:
        mine, its = s.getsockname(), s.getpeername()
        s.sendall(wire.get("a.test"))
        s.shutdown(socket.SHUT_WR)
        peers.read_all(s)
    got = parse(b.wait_seen()[0])
    assert got == (version, mine, its, {}, wire.get("a.test"))
    line_of_log = p.access_one()
    assert line_of_log["bytes_in"] == len(wire.get("a.test"))


def test_a_backend_is_told_the_names_of_a_tls_client(rx, backends):
    b = backends(peers.collect)
    p = rx('{ rx.tls, to = %s, send_proxy = { unique_id = true, crc32c = true } }' % b.quoted)
    for alpn in (["h2"], ["h2", "http/1.1"]):
        hello = wire.hello("a.test", alpn=alpn)
        talk(p, hello)
    seen = [parse(d) for d in b.wait_seen(2)]
    logged = {l["conn"] for l in p.access(2)}
    for _, _, _, values, rest in seen:
        assert values[2] == b"a.test" and values[5].decode() in logged and len(values[3]) == 4
        assert rest.startswith(b"\x16\x03")
    assert sorted(v.get(1, b"") for _, _, _, v, _ in seen) == [b"", b"h2"]  # of two it is not known which


def test_a_server_that_speaks_first_has_the_header_first(rx, backends):
    def handler(sock, server):
        head = b""
        while not head.endswith(b"\r\n"):
            head += sock.recv(1)
        server.seen.append(head)
        sock.sendall(b"220 hello\r\n")
        peers.read_all(sock)

    b = backends(handler)
    p = rx('{ rx.silent, to = %s, send_proxy = "v1" }' % b.quoted, options='peek_timeout = "100ms",')
    with p.connect() as s:
        assert s.recv(100) == b"220 hello\r\n"
        assert parse(b.seen[0])[1] == s.getsockname()


def test_the_next_backend_gets_a_header_of_its_own(rx, backends):
    b = backends(peers.collect)
    p = rx('{ rx.http, to = { "127.0.0.1:%d", %s }, send_proxy = "v2" }' % (free_port(), b.quoted))
    for _ in range(2):
        talk(p, wire.get("a.test"))
    assert [parse(d)[4] for d in b.wait_seen(2)] == [wire.get("a.test")] * 2


def test_a_unix_client_is_unknown(rx, backends, workdir):
    b = backends(peers.collect)
    path = os.path.join(str(workdir), "in.sock")
    p = rx('{ rx.http, host = "one", to = %s, send_proxy = "v1" }, { rx.http, to = %s, send_proxy = "v2" }' %
           (b.quoted, b.quoted), listen=lua_string("unix:" + path))
    for host in ("one", "two"):
        with socket.socket(socket.AF_UNIX) as s:
            s.settimeout(PATIENCE)
            s.connect(path)
            s.sendall(wire.get(host))
            s.shutdown(socket.SHUT_WR)
            peers.read_all(s)
    assert [parse(d)[:3] for d in b.wait_seen(2)] == [(1, None, None), (2, None, None)]
    assert p.access(2)


def test_what_came_in_a_header_goes_out_in_one(rx, backends):
    b = backends(peers.collect)
    p = rx('{ rx.any, to = %s, send_proxy = { unique_id = true } }' % b.quoted, options=FROM_LOOPBACK)
    talk(p, binary(tlvs=tlv(5, b"id-7") + tlv(2, b"a.test")) + b"x")
    assert parse(b.wait_seen()[0]) == (2, ("203.0.113.9", 4242), ("198.51.100.1", 443), {5: b"id-7", 2: b"a.test"}, b"x")


def test_a_large_transfer_behind_a_header_arrives_whole(rx, backends):
    b = backends(peers.echo)
    front = rx('{ rx.any, to = rx.echo }', options=FROM_LOOPBACK)
    p = rx('{ rx.any, to = "127.0.0.1:%d", send_proxy = "v2" }' % front.port)
    data = os.urandom(3 << 20)
    with p.connect() as s:
        sender = peers.in_thread(lambda: (s.sendall(data), s.shutdown(socket.SHUT_WR)))
        assert peers.read_all(s) == data
        sender.get()
    assert b.n_accepted == 0


@pytest.fixture
def datagrams():
    """A UDP socket that stands for a backend."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.bind(("127.0.0.1", 0))
        s.settimeout(PATIENCE)
        yield s


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "0.0.0.0:0"])
@pytest.mark.parametrize("say", ["v1", "v2"])
def test_every_datagram_has_a_header_of_version_2(rx, datagrams, listen, say):
    """Each datagram begins with it, also those that come in one batch; answers have none."""
    p = rx('{ rx.any, to = "127.0.0.1:%d", send_proxy = "%s" }' % (datagrams.getsockname()[1], say),
           listen='"%s"' % listen, binds=2)
    port = next(int(a.rsplit(":", 1)[1]) for a in udp_addresses(p))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(PATIENCE)
        s.connect(("127.0.0.1", port))
        sent = [b"datagram %d" % i + b"." * i for i in range(20)] + [b"same"] * 20
        for d in sent:
            s.send(d)
        got = [datagrams.recvfrom(2000) for _ in sent]
        assert {d[13] for d, _ in got} == {0x12}
        assert [parse(d) for d, _ in got] == [(2, s.getsockname(), ("127.0.0.1", port), {}, d) for d in sent]
        datagrams.sendto(b"answer", got[0][1])
        assert s.recv(100) == b"answer"


def udp_addresses(p):
    return [found.group(1) for found in (re.search(r'listening on ([^\s"]+) \(udp\)', l) for l in p.err.lines) if found]


def test_dig_asks_dnsdist_style_backends_through_headers(rx, need, datagrams):
    """A resolver that expects headers sees who asked; dig has its answer."""
    p = rx('{ rx.dns, to = "127.0.0.1:%d", send_proxy = "v2" }' % datagrams.getsockname()[1], binds=2)
    port = next(int(a.rsplit(":", 1)[1]) for a in udp_addresses(p))

    def answer():
        data, peer = datagrams.recvfrom(2000)
        version, source, _, _, query = parse(data)
        datagrams.sendto(query[:2] + b"\x81\x85" + query[4:], peer)  # refused
        return version, source[0]

    asked = peers.in_thread(answer)
    run = run_client([need("dig"), "@127.0.0.1", "-p", port, "+tries=1", "+time=5", "+noedns", "a.test"], check=False)
    assert b"status: REFUSED" in run.stdout
    assert asked.get() == (2, "127.0.0.1")


# ---- real programs -------------------------------------------------------------------------------------------------


HAPROXY = """
global
    maxconn 200
defaults
    mode tcp
    timeout connect 5s
    timeout client 10s
    timeout server 10s
"""


def haproxy(need, run_server, workdir, text, port):
    path = os.path.join(str(workdir), "haproxy-%d.cfg" % port)
    with open(path, "w", encoding="ascii") as f:
        f.write(HAPROXY + text)
    return run_server([need("haproxy"), "-db", "-f", path]).wait_listening(port)


@pytest.mark.parametrize("how,version", [
    ("send-proxy", b"1"), ("send-proxy-v2", b"2"),
    ("send-proxy-v2 proxy-v2-options crc32c,unique-id,ssl,cert-cn,authority", b"2")], ids=["v1", "v2", "options"])
def test_haproxy_tells_us_who_the_client_is(rx, need, run_server, workdir, how, version):
    p = rx("""{ rx.any, to = function(conn)
        local x = conn.proxy
        return rx.respond(table.concat({ conn.client.ip, conn.client.port, x.version, tostring(x.unique_id) }, " "))
    end }""", options=FROM_LOOPBACK)
    port = free_port()
    haproxy(need, run_server, workdir, """
listen l
    bind 127.0.0.1:%d
    unique-id-format u-%%ci
    server s 127.0.0.1:%d %s
""" % (port, p.port, how), port)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(b"x")
        want = b"127.0.0.1 %d %s " % (s.getsockname()[1], version)
        got = peers.read_all(s)
    assert got == want + (b"u-127.0.0.1" if "unique-id" in how else b"nil")


def test_haproxy_checks_are_let_in_as_the_proxy_itself(rx, need, run_server, workdir):
    """Its checks send LOCAL headers."""
    p = rx("{ rx.any, to = rx.echo }", options=FROM_LOOPBACK)
    port = free_port()
    haproxy(need, run_server, workdir, """
listen l
    bind 127.0.0.1:%d
    server s 127.0.0.1:%d send-proxy-v2 check inter 100ms check-send-proxy
""" % (port, p.port), port)
    lines = p.access(3, where=lambda l: l["reason"] not in ("proxy_missing", "proxy_invalid"))
    assert all(l["client"].startswith("127.0.0.1:") for l in lines)
    assert not [l for l in p.access_lines() if l["reason"].startswith("proxy_")]


@pytest.mark.parametrize("say", ['"v1"', '"v2"', '{ unique_id = true, crc32c = true }'])
def test_haproxy_believes_us(rx, need, run_server, workdir, say):
    port = free_port()
    haproxy(need, run_server, workdir, """
listen l
    mode http
    bind 127.0.0.1:%d accept-proxy
    http-request return status 200 content-type text/plain lf-string "%%[src]:%%[src_port] %%[dst_port] %%[fc_pp_unique_id]"
""" % port, port)
    p = rx('{ rx.http, to = "127.0.0.1:%d", send_proxy = %s }' % (port, say))
    with p.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        mine, answer = s.getsockname(), peers.read_all(s)
    body = answer.split(b"\r\n\r\n", 1)[1].decode().split(" ")
    assert body[:2] == ["127.0.0.1:%d" % mine[1], str(p.port)]
    if "unique" in say:
        assert body[2] == p.access_one()["conn"]


NGINX = """
daemon off; master_process off; pid %(dir)s/nginx.pid; error_log %(dir)s/nginx.err;
events { }
"""


def nginx(need, run_server, workdir, text, port):
    path = os.path.join(str(workdir), "nginx.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write(NGINX % {"dir": str(workdir)} + text)
    return run_server([need("nginx"), "-p", str(workdir), "-c", path]).wait_listening(port)


STREAM = "/usr/lib/nginx/modules/ngx_stream_module.so"


@pytest.mark.skipif(not os.path.exists(STREAM), reason="libnginx-mod-stream is not installed")
def test_nginx_tells_us_who_the_client_is(rx, need, run_server, workdir):
    p = rx("""{ rx.any, to = function(conn)
        return rx.respond(table.concat({ conn.client.ip, conn.client.port, conn.proxy.version, conn.to_port }, " "))
    end }""", options=FROM_LOOPBACK)
    port, path = free_port(), os.path.join(str(workdir), "nginx.conf")
    with open(path, "w", encoding="ascii") as f:
        f.write("load_module %s;" % STREAM + NGINX % {"dir": str(workdir)} + """
stream { server { listen 127.0.0.1:%d; proxy_pass 127.0.0.1:%d; proxy_protocol on; } }
""" % (port, p.port))
    run_server([need("nginx"), "-p", str(workdir), "-c", path]).wait_listening(port)
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as s:
        s.sendall(b"x")
        assert peers.read_all(s) == b"127.0.0.1 %d 1 %d" % (s.getsockname()[1], port)


@pytest.mark.parametrize("say", ['"v1"', '"v2"', '{ unique_id = true, crc32c = true }'])
def test_nginx_believes_us(rx, need, run_server, workdir, say):
    port = free_port()
    nginx(need, run_server, workdir, """
http {
    access_log off;
    server {
        listen 127.0.0.1:%d proxy_protocol;
        set_real_ip_from 127.0.0.1; real_ip_header proxy_protocol;
        return 200 "$remote_addr $proxy_protocol_port $proxy_protocol_server_port";
    }
}
""" % port, port)
    p = rx('{ rx.http, to = "127.0.0.1:%d", send_proxy = %s }' % (port, say), options=FROM_LOOPBACK)
    with p.connect() as s:
        s.sendall(line("203.0.113.9", 4242) + b"GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n")
        assert peers.read_all(s).endswith(b"203.0.113.9 4242 443")


def test_curl_speaks_to_us_by_a_header(rx, need, backends):
    b = backends(peers.http(b"hello"))
    p = rx('{ rx.http, from = "127.0.0.1", to = %s }' % b.quoted, options=FROM_LOOPBACK)
    got = run_client([need("curl"), "-sS", "--haproxy-protocol", "http://127.0.0.1:%d/" % p.port])
    assert got.stdout == b"hello"
