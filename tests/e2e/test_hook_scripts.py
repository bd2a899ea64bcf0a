# SPDX-License-Identifier: MIT
"""The hooks that ship in scripts/hooks, with real clients: captures that tshark opens, logs, counters."""
import os
import re
import subprocess

import pytest

import peers
import wire
from harness import ROOT, free_port, make_config, wait_for
from test_clients_web import nginx  # noqa: F401  pylint: disable=unused-import
from test_hooks import read

pytestmark = pytest.mark.sanitize


def hook(name):
    return 'rx.include "%s"' % os.path.join(ROOT, "scripts", "hooks", name + ".lua")


@pytest.fixture
def tshark(need):
    path = need("tshark")

    def run(capture, *args):
        done = subprocess.run([path, "-r", capture, *args], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_a_capture_opens_in_tshark_and_shows_tls_and_http(rx, nginx, need, tshark, certificate):  # noqa: F811
    """Promise: pcap.lua's file is a capture: SNI and HTTP are read from it, streams are reassembled, nothing is odd."""
    ports = nginx(tls={"tls": True}, plain={})
    p = rx('{ rx.tls, to = "127.0.0.1:%(tls)d" }, { rx.http, to = "127.0.0.1:%(plain)d" }' % ports,
           options="hooks = { %s }," % hook("pcap"))
    curl = need("curl")
    subprocess.run([curl, "-sS", "--cacert", certificate[0], "--resolve", "a.test:%d:127.0.0.1" % p.port,
                    "https://a.test:%d/who" % p.port], check=True, capture_output=True, timeout=30)
    body = subprocess.run([curl, "-sS", "http://127.0.0.1:%d/big.bin" % p.port, "-r", "0-299999"], check=True,
                          capture_output=True, timeout=30).stdout
    capture = os.path.join(p.directory, "traffic.pcap")
    p.access(2)
    port = str(p.port)

    def finished():
        flags = tshark(capture, "-Y", "tcp.flags.fin == 1", "-T", "fields", "-e", "tcp.stream").split()
        return len(flags) >= 4

    wait_for(lambda: os.path.exists(capture) and finished(), what="the end of both streams in the capture")
    decode = ["-d", "tcp.port==%s,tls" % port]
    names = tshark(capture, *decode, "-Y", "tls.handshake.extensions_server_name", "-T", "fields", "-e",
                   "tls.handshake.extensions_server_name").split()
    assert names == ["a.test"]
    requests = tshark(capture, "-d", "tcp.port==%s,http" % port, "-Y", "http.request", "-T", "fields", "-e",
                      "http.request.uri").split()
    assert requests == ["/big.bin"]
    raw = tshark(capture, "-q", "-z", "follow,tcp,raw,1")
    server = "".join(line.strip() for line in raw.splitlines() if re.fullmatch(r"\t[0-9a-f]+", line))
    assert bytes.fromhex(server).endswith(b"\r\n\r\n" + body)
    odd = tshark(capture, "-Y", "tcp.analysis.flags || _ws.malformed || ip.checksum.status == 0", "-o",
                 "ip.check_checksum:TRUE")
    assert odd == ""


def test_a_capture_of_ipv6(rx, backends, tshark):
    """Promise: clients over IPv6 as well."""
    p = rx("{ rx.ssh, to = %s }" % backends(peers.echo).quoted, listen='"[::1]:0"', options="hooks = { %s }," % hook("pcap"))
    with p.connect(host="::1") as s:
        s.sendall(wire.SSH)
        peers.read_exactly(s, len(wire.SSH))
    capture = os.path.join(p.directory, "traffic.pcap")
    wait_for(lambda: os.path.exists(capture) and tshark(capture, "-Y", "tcp.flags.fin == 1"), what="the capture")
    hosts = set(tshark(capture, "-T", "fields", "-e", "ipv6.src").split())
    assert hosts == {"::1", "2001:db8::1"}


def test_the_access_log_has_a_line_for_every_connection(rx, backends):
    """Promise: access_log.lua writes facts, JA4, bytes and the reason, escaped."""
    p = rx('{ rx.http, name = "web", to = %s }, { rx.tls, to = rx.drop }' % backends(peers.http("hi")).quoted,
           options="hooks = { %s }," % hook("access_log"), workers=2)
    with p.connect() as s:
        s.sendall(wire.get(path='/a"\\b\x01'.replace("\x01", "%01")))
        got = peers.read_all(s)
    with p.connect() as s:
        s.sendall(wire.hello(sni="a.test"))
        peers.how_it_ends(s)
    lines = wait_for(lambda: read(p, "connections.log").count(b"\n") == 2 and read(p, "connections.log").decode(),
                     what="two lines").splitlines()
    lines.sort(key=lambda line: "protocol=tls" in line)
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ conn=\d+ client=127.0.0.1:\d+ protocol=http route="web" '
                        r'host="a.test" method="GET" path="/a\\x22\\x5cb%%01" pool="[^"]+" backend="[^"]+" in=\d+ out=%d '
                        r's=\d+\.\d+ reason=done' % len(got), lines[0]), lines[0]
    assert re.search(r'protocol=tls route="tls" sni="a.test" ja4="t13d0305\w\w_[0-9a-f]{12}_[0-9a-f]{12}" in=\d+ out=0 '
                     r's=\d+\.\d+ reason=dropped$', lines[1]), lines[1]


def test_ja4_is_noted_once_and_a_route_may_ask_for_it(rx, backends):
    """Promise: ja4.lua notes a fingerprint once; `when` sees the same one."""
    backend = backends(peers.echo)
    config = dict(options="hooks = { %s }," % hook("ja4"))
    p = rx("{ rx.tls, to = %s }" % backend.quoted, **config)
    for _ in range(3):
        with p.connect() as s:
            s.sendall(wire.hello(sni="a.test"))
            s.recv(10)
    first = wait_for(lambda: read(p, "ja4.log").decode(), what="a fingerprint")
    p.access(3)
    assert read(p, "ja4.log").decode() == first and first.count("\n") == 1
    ja4 = first.split()[0]
    q = rx("{ rx.tls, when = function(conn) return conn.ja4 == '%s' end, to = rx.refuse }, { rx.tls, to = %s }" % (
        ja4, backend.quoted))
    with q.connect() as s:
        s.sendall(wire.hello(sni="other.test"))
        assert peers.how_it_ends(s)[0] == "reset"
    with q.connect() as s:
        s.sendall(wire.hello(sni="a.test", alpn=["h2"]))
        assert s.recv(10)


def test_counters_by_route_and_protocol(rx, backends):
    """Promise: bytes.lua's counters are in /metrics."""
    import urllib.request
    port = free_port()
    p = rx.config(make_config('{ rx.ssh, name = "shell", to = %s }' % backends(peers.echo).quoted,
                              options="hooks = { %s }," % hook("bytes"), server='metrics = "127.0.0.1:%d",' % port))
    for _ in range(3):
        with p.connect() as s:
            s.sendall(wire.SSH)
            peers.read_exactly(s, len(wire.SSH))

    def page():
        return urllib.request.urlopen("http://127.0.0.1:%d/metrics" % port, timeout=5).read().decode()

    labels = r'\{route="shell",protocol="ssh"\}'
    wait_for(lambda: re.search(r"hook_connections_total%s 3\b" % labels, page()), what="three connections in /metrics")
    for name in ("in", "out"):
        assert re.search(r"hook_bytes_%s_total%s %d\b" % (name, labels, 3 * len(wire.SSH)), page())
