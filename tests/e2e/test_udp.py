# SPDX-License-Identifier: MIT
"""UDP: flows, routes, limits and ends, seen from outside; real dig and dnsmasq where DNS matters."""
import contextlib
import os
import random
import select
import signal
import socket
import struct
import threading
import time

import pytest

import harness
import peers
import wire
from harness import run_client, wait_for

pytestmark = pytest.mark.sanitize

WIREGUARD = b"\x01\0\0\0" + bytes(range(144))
STUN = b"\0\x01\0\0\x21\x12\xa4\x42" + b"transaction!"


class UdpServer:
    """Answers every datagram with name + datagram, until closed."""

    def __init__(self, name=b"", family=socket.AF_INET, host="127.0.0.1", port=0, answer=None):
        self.socket = socket.socket(family, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
        self.socket.bind((host, port))
        self.port = self.socket.getsockname()[1]
        self.name, self.seen, self.peers = name, [], set()
        self.answer = answer or (lambda data: name + data)
        self.is_closed = False
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    @property
    def address(self):
        return "127.0.0.1:%d" % self.port

    def run(self):
        while not self.is_closed:
            ready, _, _ = select.select([self.socket], [], [], 0.05)
            if not ready:
                continue
            with contextlib.suppress(OSError):
                data, peer = self.socket.recvfrom(65535)
                self.seen.append(data)
                self.peers.add(peer)
                said = self.answer(data)
                if said is not None:
                    self.socket.sendto(said, peer)

    def close(self):
        self.is_closed = True
        self.thread.join()
        self.socket.close()


@pytest.fixture
def servers():
    with contextlib.ExitStack() as stack:
        def start(*args, **how):
            server = UdpServer(*args, **how)
            stack.callback(lambda: server.is_closed or server.close())
            return server

        yield start


@pytest.fixture
def port():
    """Free for TCP and UDP."""
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.bind(("127.0.0.1", 0))
            number = s.getsockname()[1]
        with contextlib.suppress(OSError), socket.socket() as t:
            t.bind(("127.0.0.1", number))
            return number


@pytest.fixture
def client():
    with contextlib.ExitStack() as stack:
        def make(port, host="127.0.0.1", source=None, timeout=harness.PATIENCE):
            s = stack.enter_context(socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_DGRAM))
            s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
            s.settimeout(timeout)
            if source:
                s.bind(source)
            s.connect((host, port))
            return s

        yield make


def ask(s, data):
    s.send(data)
    return s.recv(65535)


def is_silent(s, data, seconds=0.4):
    s.send(data)
    s.settimeout(seconds)
    try:
        s.recv(65535)
    except (TimeoutError, socket.timeout):
        return True
    return False


def listen(port, routes, options="", **more):
    return harness.make_config(routes, listen='"127.0.0.1:%d"' % port, options=options, **more)


def query(name="example.com", qtype=1):
    return wire.dns_query(name, qtype)[2:]


def test_datagrams_go_where_their_protocol_goes(rx, servers, client, port):
    dns, wg, rest = servers(b"dns:"), servers(b"wg:"), servers(b"rest:")
    config = listen(port, '{ rx.dns, to = "%s" }, { rx.wireguard, to = "%s" }' % (dns.address, wg.address),
                    'fallback_udp = "%s",' % rest.address)
    r = rx.config(config, binds=2)
    assert ask(client(port), query()) == b"dns:" + query()
    assert ask(client(port), WIREGUARD) == b"wg:" + WIREGUARD
    assert ask(client(port), b"whatever this is") == b"rest:whatever this is"
    r.stop()
    lines = {line["protocol"]: line for line in r.access(3)}
    assert lines["dns"]["bytes_in"] == len(query()) and lines["dns"]["bytes_out"] == len(query()) + 4


def test_names_in_queries_are_routed(rx, servers, client, port):
    a, b = servers(b"a:"), servers(b"b:")
    rx.config(listen(port, '{ rx.dns, qname = "*.a.test", to = "%s" }, { rx.dns, to = "%s" }' % (a.address, b.address)),
              binds=2)
    assert ask(client(port), query("www.a.test")).startswith(b"a:")
    assert ask(client(port), query("www.b.test")).startswith(b"b:")


def test_without_a_fallback_unknown_datagrams_are_dropped(rx, servers, client, port):
    dns = servers(b"dns:")
    r = rx.config(listen(port, '{ rx.dns, to = "%s" }' % dns.address), binds=2)
    assert is_silent(client(port), b"\0" * 40)
    assert is_silent(client(port), b"")
    assert not dns.seen
    assert {line["reason"] for line in r.access(2)} == {"no_route"}


def test_a_flow_keeps_its_backend_and_flows_take_turns(rx, servers, client, port):
    one, two = servers(b"1"), servers(b"2")
    rx.config(listen(port, '{ rx.any, to = { "%s", "%s" } }' % (one.address, two.address)), binds=2)
    firsts = []
    for _ in range(6):
        s = client(port)
        answers = {ask(s, b"x%d" % i)[:1] for i in range(5)}
        assert len(answers) == 1
        firsts += answers
    assert firsts.count(b"1") == 3 and firsts.count(b"2") == 3
    assert len(one.peers) == 3


@pytest.mark.parametrize("size", [1, 1400, 1472, 9000, 65507])
def test_datagrams_of_any_size_pass_whole_both_ways(rx, servers, client, port, size):
    server = servers()
    rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address), binds=2)
    data = random.Random(size).randbytes(size)
    assert ask(client(port), data) == data
    assert server.seen == [data]


def test_empty_datagrams_are_datagrams(rx, servers, client, port):
    server = servers(b"empty?")
    rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address), binds=2)
    s = client(port)
    assert ask(s, b"") == b"empty?"
    assert ask(s, b"x") == b"empty?x"


def test_many_datagrams_keep_their_order_and_boundaries(rx, servers, client, port):
    server = servers(answer=lambda data: None)
    rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address), binds=2)
    s, dice, sent = client(port), random.Random(7), []
    for burst in range(60):
        for i in range(10):
            size = 1200 if dice.random() < 0.7 else dice.randrange(1, 1500)
            data = struct.pack(">I", burst * 10 + i) + dice.randbytes(size)
            sent.append(data)
            s.send(data)
        wait_for(lambda: len(server.seen) >= len(sent), what="datagrams to arrive")
    assert server.seen == sent


def test_answers_keep_their_order_and_boundaries(rx, servers, client, port):
    dice = random.Random(3)
    parts = [dice.randbytes(1200 if i % 5 else dice.randrange(0, 1400)) for i in range(40)]
    server = servers(answer=lambda data: None)
    rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address), binds=2)
    s = client(port)
    s.send(b"go")
    wait_for(lambda: server.peers, what="the flow")
    for part in parts:
        server.socket.sendto(part, next(iter(server.peers)))
    assert [s.recv(65535) for _ in parts] == parts


def test_ipv6(rx, servers, client, port):
    server = servers(b"six:", socket.AF_INET6, "::1")
    config = harness.make_config('{ rx.any, to = "[::1]:%d" }' % server.port, listen='"[::1]:%d"' % port)
    rx.config(config, binds=2)
    assert ask(client(port, "::1"), b"hi") == b"six:hi"


def test_a_wildcard_answers_from_the_address_that_was_asked(rx, servers, client, port):
    server = servers(b"w:")
    rx.config(harness.make_config('{ rx.any, to = "%s" }' % server.address, listen='"0.0.0.0:%d"' % port), binds=2)
    for host in ("127.0.0.1", "127.0.0.2", "127.9.9.9"):
        assert ask(client(port, host), b"x") == b"w:x"  # a connected socket takes answers from there alone
    assert len(server.peers) == 3


def test_a_broadcast_is_answered_from_an_address_of_this_machine(rx, servers, port):
    server = servers(b"1")
    rx.config(harness.make_config('{ rx.any, to = "%s" }' % server.address, listen='"0.0.0.0:%d"' % port), binds=2)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        s.settimeout(harness.PATIENCE)
        s.bind(("127.0.0.1", 0))
        s.sendto(b"x", ("127.255.255.255", port))
        assert s.recvfrom(100) == (b"1x", ("127.0.0.1", port))


def test_one_port_serves_tcp_and_udp_alike(rx, servers, backends, client, port):
    udp, tcp = servers(b"udp:"), backends(peers.named("tcp"))
    rx.flags(["-b", "127.0.0.1", "-p", port, "-f", "udp:any=%s" % udp.address, "-f", "tcp:any=%s" % tcp.address], binds=2)
    assert ask(client(port), b"x") == b"udp:x"
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(b"hello")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(100).startswith(b"tcp")


def test_a_route_may_be_about_one_transport(rx, servers, backends, client, port):
    udp, tcp = servers(b"udp:"), backends(peers.named("tcp"))
    rx.config(listen(port, """
        { rx.any, transport = "udp", to = "%s" },
        { rx.any, transport = "tcp", to = "%s" },""" % (udp.address, tcp.address)), binds=2)
    assert ask(client(port), b"x") == b"udp:x"
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(b"x")
        s.shutdown(socket.SHUT_WR)
        assert s.recv(8) == b"tcp"


def test_routes_about_connections_open_nothing_for_datagrams(rx, workdir, port):
    r = rx.config(listen(port, '{ rx.dns, transport = "tcp", to = rx.echo }, { rx.silent, to = rx.drop },'))
    table = open("/proc/%d/net/udp" % r.process.pid).read()
    assert ":%04X " % port not in table
    assert ":%04X " % port in open("/proc/%d/net/tcp" % r.process.pid).read()


def test_udp_and_tcp_commands_serve_one_of_them(rx, servers, client, port):
    server = servers(b"u:")
    r = rx.flags(["udp", "-b", "127.0.0.1", "-p", port, "-f", "any=%s" % server.address])
    assert ask(client(port), b"x") == b"u:x"
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 5)
    r.stop()
    r = rx.flags(["tcp", "-b", "127.0.0.1", "-p", port, "-f", "any=%s" % server.address])
    with pytest.raises(ConnectionRefusedError):
        ask(client(port), b"x")


def test_an_idle_flow_is_forgotten_and_either_direction_keeps_it(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, 'udp_idle_timeout = "1s",'), binds=2)
    s = client(port)
    ask(s, b"x")
    peer = next(iter(server.peers))
    for _ in range(5):  # only the backend speaks
        time.sleep(0.5)
        server.socket.sendto(b"still here", peer)
        assert s.recv(100) == b"still here"
    assert not r.access_lines()
    assert r.access_one(timeout=6)["reason"] == "idle_timeout"
    ask(s, b"y")
    assert len(server.peers) == 2


def test_a_refused_datagram_ends_its_flow_only(rx, servers, client, port):
    server = servers(b"")
    dead = servers()
    dead.close()
    r = rx.config(listen(port, '{ rx.dns, to = "%s" }, { rx.any, to = "%s" }' % (dead.address, server.address)), binds=2)
    good, bad = client(port), client(port)
    ask(good, b"one")
    for _ in range(3):
        assert is_silent(bad, query(), 0.2)
    assert ask(good, b"two") == b"two"
    assert len(server.peers) == 1
    assert {line["reason"] for line in r.access(3)} == {"backend_down"}


def test_a_query_moves_on_when_its_backend_dies(rx, servers, client, port):
    one, two = servers(b"1"), servers(b"2")
    rx.config(listen(port, '{ rx.dns, to = { "%s", "%s" } }' % (one.address, two.address)), binds=2)
    s = client(port, timeout=0.3)
    first = ask(s, query())[:1]
    (one if first == b"1" else two).close()

    def answered():
        with contextlib.suppress(TimeoutError, socket.timeout):
            return ask(s, query())[:1]

    assert wait_for(answered, what="the other backend") == (b"2" if first == b"1" else b"1")


def test_max_sessions(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, "max_sessions = 3,"), binds=2)
    kept = [client(port) for _ in range(3)]
    for s in kept:
        ask(s, b"x")
    assert is_silent(client(port), b"x")
    assert r.access_one()["reason"] == "limit_listener"
    for s in kept:
        assert ask(s, b"y") == b"y"


def test_max_sessions_per_ip(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, "max_sessions_per_ip = 2,"), binds=2)
    for _ in range(2):
        ask(client(port), b"x")
    assert is_silent(client(port), b"x")
    assert ask(client(port, source=("127.0.0.7", 0)), b"x") == b"x"
    assert r.access_one()["reason"] == "limit_ip"


def test_rate_per_ip_counts_new_flows_and_leaves_those_there_are_alone(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, 'rate_per_ip = "3/h",'), binds=2)
    flows = [client(port) for _ in range(3)]
    for s in flows * 2:
        assert ask(s, b"x") == b"x"
    assert is_silent(client(port), b"x")
    assert ask(client(port, source=("127.0.0.7", 0)), b"x") == b"x"
    assert r.access_one()["reason"] == "rate_ip"


def test_answers_of_its_own(rx, client, port):
    r = rx.config(listen(port, '{ rx.stun, to = rx.respond "pong" }, { rx.wireguard, to = rx.drop },'
                               ' { rx.dns, to = rx.respond }, { rx.any, to = rx.echo }'), binds=2)
    assert ask(client(port), STUN) == b"pong"
    assert is_silent(client(port), WIREGUARD)
    echo = client(port)
    for data in (b"some text", b"", b"more"):
        assert ask(echo, data) == data
    answer = ask(client(port), query("who.test", 16))
    assert answer[:2] == query()[:2] and b"who" in answer
    assert {line["reason"] for line in r.access(3)} == {"answered", "dropped"}


def test_an_answer_is_never_much_larger_than_what_was_asked(rx, client, port):
    rx.config(listen(port, '{ rx.any, to = rx.respond "%s" }' % ("x" * 400)), binds=2)
    assert is_silent(client(port), b"a" * 20)
    assert ask(client(port), b"a" * 200) == b"x" * 400


def test_functions_of_the_config_see_udp(rx, servers, client, port):
    server = servers(b"lua:")
    rx.config(listen(port, """
        { game, key = "eu", when = function(conn) return conn.transport == "udp" end, to = "%s" },
        { rx.any, to = function(conn) return rx.drop end }""" % server.address, prelude="""
        local game = rx.protocol "game" { transport = "udp", identify = function(buf)
          if buf:starts("GAME") then return true, buf:sub(4, 6) end
        end }"""), binds=2)
    assert ask(client(port), b"GAMEeu...") == b"lua:GAMEeu..."
    assert is_silent(client(port), b"GAMEus...")
    assert is_silent(client(port), b"other")


def test_established_flows_live_through_a_reload(rx, servers, client, port):
    one, two = servers(b"1"), servers(b"2")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % one.address), binds=2)
    old = client(port)
    assert ask(old, b"x") == b"1x"
    r.write_config(listen(port, '{ rx.any, to = "%s" }' % two.address))
    r.err.wait("reload .*tests passed|reload .*accepted|reload ")
    assert wait_for(lambda: ask(client(port), b"y") == b"2y", what="the new config")
    assert ask(old, b"z") == b"1z"
    assert len(one.peers) == 1


def test_an_edit_of_socket_options_leaves_clients_with_their_workers(rx, servers, client, port):
    server = servers(b"1")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, workers=2), binds=2)
    clients = [client(port) for _ in range(12)]
    assert {ask(s, b"x") for s in clients} == {b"1x"}
    r.write_config(listen(port, '{ rx.any, to = "%s" }' % server.address, "backlog = 100,", workers=2))
    r.err.wait("generation 2")
    time.sleep(0.2)
    assert {ask(s, b"y") for s in clients} == {b"1y"}
    assert len(server.peers) == 12, "no flow began anew at another worker"


def test_flows_outlive_their_listener(rx, servers, client, port):
    server = servers(b"1")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address), binds=2)
    old = client(port)
    assert ask(old, b"x") == b"1x"
    r.write_config(harness.make_config('{ rx.tls, to = rx.drop }'))
    r.err.wait("listening on 127.0.0.1:(?!%d)" % port)
    time.sleep(0.3)
    assert ask(old, b"y") == b"1y"
    assert is_silent(client(port), b"new")


def test_an_address_that_is_taken_away_can_be_given_back_while_its_flows_last(rx, servers, client, port):
    """The undoing of an edit is no second program on that address, and no new client goes to a socket that turns it away."""
    one, two = servers(b"1"), servers(b"2")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % one.address, workers=2), binds=2)
    old = [client(port) for _ in range(30)]
    assert {ask(s, b"x") for s in old} == {b"1x"}
    r.write_config(harness.make_config('{ rx.tls, to = rx.drop }', workers=2))
    r.err.wait("generation 2")
    r.write_config(listen(port, '{ rx.any, to = "%s" }' % two.address, workers=2))
    r.err.wait("generation 3")
    assert wait_for(lambda: {ask(client(port), b"y") for _ in range(30)} == {b"2y"}, what="the new config")
    assert {ask(s, b"z") for s in old} == {b"1z"}, "theirs are still the same sockets"


def test_stopping_lets_live_flows_finish(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address, server='drain_timeout = "20s",'), binds=2)
    s = client(port)
    ask(s, b"x")
    r.signal(signal.SIGTERM)
    for _ in range(4):
        time.sleep(0.4)
        assert ask(s, b"y") == b"y"
    assert r.wait_exit(10) == 0  # quiet for two seconds, it has ended


def test_ten_thousand_flows(rx, servers, port):
    harness.raise_nofile(30000)
    server = servers(b"")
    count = 2000 if harness.SANITIZER else 10000
    r = rx.config(listen(port, '{ rx.any, to = "%s" }' % server.address,
                         server="max_sessions = 20000,", workers=2), binds=2)
    before = r.rss_bytes()
    with contextlib.ExitStack() as stack:
        clients = []
        for i in range(count):
            s = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.bind(("127.0.%d.%d" % (1 + i // 250, 1 + i % 250), 0))
            s.connect(("127.0.0.1", port))
            s.settimeout(harness.PATIENCE)
            clients.append(s)
        for round_ in range(2):
            for i, s in enumerate(clients):
                s.send(b"%d/%d" % (round_, i))
                if i % 50 == 49:
                    for k in range(i - 49, i + 1):
                        assert clients[k].recv(100) == b"%d/%d" % (round_, k)
        grown = r.rss_bytes() - before
    assert len(server.peers) == count
    if not harness.SANITIZER:
        assert grown / count < 1200, "%d bytes a flow" % (grown / count)


def test_real_dns(rx, run_server, need, workdir, port):
    need("dig")
    upstream = harness.free_port()
    run_server(["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1",
                "--bind-interfaces", "--port=%d" % upstream, "--address=/a.test/192.0.2.7",
                "--txt-record=big.test," + ",".join("x" * 200 for _ in range(5)), "--pid-file="])
    rx.config(listen(port, '{ rx.dns, to = "127.0.0.1:%d" }' % upstream), binds=2)

    def dig(*args):
        return run_client(["dig", "+time=2", "+tries=3", "@127.0.0.1", "-p", str(port), "+short", *args]).stdout.decode()

    assert wait_for(lambda: dig("www.a.test") == "192.0.2.7\n", what="dnsmasq")
    assert dig("+tcp", "www.a.test") == "192.0.2.7\n"
    assert dig("+noedns", "www.a.test") == "192.0.2.7\n"
    assert "x" * 200 in dig("big.test", "TXT")


def test_the_default_config_answers_dig(rx, need, port):
    need("dig")
    with open(os.path.join(harness.ROOT, "refractium.lua"), encoding="utf-8") as f:
        text = f.read()
    assert ":8080" in text
    rx.config(text.replace("0.0.0.0:8080", "127.0.0.1:%d" % port).replace("*:8080", "127.0.0.1:%d" % port), binds=2)
    out = run_client(["dig", "+time=2", "+tries=2", "@127.0.0.1", "-p", str(port), "example.com"]).stdout.decode()
    assert "dns" in out and "recognised" in out


def test_udp_tests_and_explain(rx, workdir, port):
    text = listen(port, '{ rx.wireguard, to = rx.drop }, { rx.quic, sni = "www.example.test", to = "127.0.0.1:4433" }') + """
rx.test "wireguard" { transport = "udp", send = "\\1\\0\\0\\0" .. ("x"):rep(144), expect = { protocol = "wireguard", to = "drop" } }
rx.test "zeros" { transport = "udp", send = ("\\0"):rep(40), expect = { reason = "no_route" } }
"""
    with open(os.path.join(workdir, "c.lua"), "w", encoding="utf-8") as f:
        f.write(text)
    assert harness.run_binary("check", "-c", "c.lua", cwd=workdir).returncode == 0
    grams = [os.path.join(harness.CORPUS, "quic", "firefox-h3-1.d%d" % i) for i in (0, 1)]
    import json
    out = json.loads(harness.run_binary("explain", "--udp", "--json", "-c", "c.lua", *grams, cwd=workdir).stdout)
    assert out["transport"] == "udp" and out["verdict"] == "match" and out["protocol"] == "quic"
    assert out["facts"]["sni"] == "www.example.test" and out["to"] == "127.0.0.1:4433"
    half = json.loads(harness.run_binary("explain", "--udp", "--json", "-c", "c.lua", grams[0], cwd=workdir).stdout)
    assert half["verdict"] == "need_more"


def test_a_hello_in_two_datagrams_waits_for_the_second(rx, servers, client, port):
    good, other = servers(b"good"), servers(b"other")
    rx.config(listen(port, '{ rx.quic, sni = "www.example.test", to = "%s" }, { rx.any, to = "%s" }' % (
        good.address, other.address)), binds=2)
    grams = []
    for i in (0, 1):
        with open(os.path.join(harness.CORPUS, "quic", "firefox-h3-1.d%d" % i), "rb") as f:
            grams.append(f.read())
    s = client(port)
    s.send(grams[1])
    time.sleep(0.3)
    assert not good.seen and not other.seen
    s.send(grams[0])
    assert s.recv(65535) == b"good" + grams[1]
    assert s.recv(65535) == b"good" + grams[0]
    assert good.seen == [grams[1], grams[0]]


def corpus(*names):
    out = []
    for name in names:
        with open(os.path.join(harness.CORPUS, name), "rb") as f:
            out.append(f.read())
    return out


def test_a_website_is_served_over_tcp_and_udp_by_one_route(rx, servers, backends, client, port):
    """Promise: rx.web takes TLS and QUIC of a name to one pool, and nothing else."""
    import peers
    tcp = backends(peers.named("web"))
    udp = servers(b"web:", port=tcp.port)
    r = rx.config(listen(port, '{ rx.web, sni = "*.example.test", name = "site", to = "127.0.0.1:%d" }' % tcp.port), binds=2)
    grams = corpus("quic/firefox-h3-1.d0", "quic/firefox-h3-1.d1")
    s = client(port)
    for gram in grams:
        s.send(gram)
    assert [s.recv(65535) for _ in grams] == [b"web:" + gram for gram in grams]
    for name, answer in (("www.example.test", b"web"), ("other.test", b"")):
        with socket.create_connection(("127.0.0.1", port), 5) as t:
            t.sendall(wire.hello(name))
            t.shutdown(socket.SHUT_WR)
            with contextlib.suppress(ConnectionResetError):
                assert t.recv(100)[:3] == answer
    assert is_silent(client(port), query())
    r.stop()
    lines = [line for line in r.access(4) if line["route"] == "site"]
    assert {line["protocol"] for line in lines} == {"tls", "quic"} and len(udp.seen) == 2


def test_what_never_completes_goes_to_the_fallback(rx, servers, client, port):
    rest = servers(b"rest")
    rx.config(listen(port, '{ rx.quic, sni = "x.test", to = rx.drop }',
                     'peek_timeout = "300ms", fallback_udp = "%s",' % rest.address))
    with open(os.path.join(harness.CORPUS, "quic", "firefox-h3-1.d0"), "rb") as f:
        gram = f.read()
    s = client(port)
    start = time.monotonic()
    assert ask(s, gram) == b"rest" + gram
    assert time.monotonic() - start > 0.25


def test_hostile_datagrams_harm_nobody(rx, servers, client, port):
    server = servers(b"")
    r = rx.config(listen(port, '{ rx.quic, to = "%s" }, { rx.dtls, to = "%s" }, { rx.dns, to = "%s" }' % (
        (server.address,) * 3)), binds=2)
    dice = random.Random(11)
    bad = bytes.fromhex("c000000001080102030405060708000001") + b"\x7a"
    s = client(port)
    for _ in range(400 if harness.SANITIZER else 3000):
        with contextlib.suppress(OSError):
            s.send(dice.choice([bad, bad[:dice.randrange(len(bad))], dice.randbytes(dice.randrange(1500)),
                                bad + dice.randbytes(1300)]))
    good = client(port, timeout=0.5)

    def answered():  # the queue in front of it may be full yet
        with contextlib.suppress(TimeoutError, socket.timeout):
            return ask(good, query())

    assert wait_for(answered, what="an answer") == query()
    assert r.process.poll() is None
