# SPDX-License-Identifier: MIT
"""Rates of new connections hold over time and at once, and whom they keep out meets what the config says."""
import socket
import subprocess
import time

import pytest

from harness import PATIENCE, free_port, make_config, wait_for

pytestmark = pytest.mark.sanitize

ANSWER = 'rx.respond "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok"'
ROUTE = "{ rx.http, to = %s }" % ANSWER


def ask(p, source="127.0.0.1", timeout=3):
    """True: answered. False: turned away."""
    try:
        with socket.create_connection(("127.0.0.1", p.port), timeout, (source, 0)) as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            return s.recv(100).startswith(b"HTTP/1.1 200")
    except ConnectionError:
        return False


def ask_for(p, seconds, **how):
    """How many of as many as can be asked in that time are answered, and how long it took."""
    begin, n = time.monotonic(), 0
    while time.monotonic() - begin < seconds:
        n += ask(p, **how)
    return n, time.monotonic() - begin


def reasons(p):
    counts = {}
    for line in p.access_lines():
        counts[line["reason"]] = counts.get(line["reason"], 0) + 1
    return counts


def test_a_client_gets_its_burst_and_then_its_rate(rx):
    """Promise: rate_per_ip, from real curl: burst at once, then the rate, over all workers; nobody else is concerned."""
    p = rx(ROUTE, options='rate_per_ip = { "20/s", burst = 8 },', workers=2)
    curl = ["curl", "-s", "-o", "/dev/null", "-w", "%{http_code}\n", "http://127.0.0.1:%d/[1-60]" % p.port]
    begin = time.monotonic()
    codes = subprocess.run(curl, capture_output=True, text=True, timeout=PATIENCE).stdout.split()
    took = time.monotonic() - begin
    assert len(codes) == 60
    assert 8 <= codes.count("200") <= 8 + 20 * took + 1, (codes, took)
    n, took = ask_for(p, 3)
    assert 20 * took * 0.85 - 2 <= n <= 20 * took * 1.1 + 2, (n, took)
    assert ask(p, source="127.0.0.2")
    p.access(1, where=lambda line: line["reason"] == "rate_ip")
    assert set(reasons(p)) == {"answered", "rate_ip"}


def test_who_is_refused_pays_nothing_and_is_served_after_a_rest(rx):
    p = rx(ROUTE, options='rate_per_ip = "30/m",')
    assert [ask(p) for _ in range(40)].count(True) in (30, 31)
    time.sleep(2.2)
    assert ask(p)


def test_the_rate_of_the_server_counts_all_its_listeners(rx):
    p = rx(ROUTE, server='rate_per_ip = "3/m",', binds=2,
           after='rx.listen "127.0.0.1:0" { routes = { %s } }' % ROUTE)
    assert ask(p) and ask(p)
    p.ports.reverse()
    assert ask(p) and not ask(p)
    assert ask(p, source="127.0.0.3")


@pytest.mark.parametrize("place,reason", [("options", "rate_listener"), ("server", "rate_server")])
def test_a_connection_rate_is_shared_by_all_clients(rx, place, reason):
    p = rx(ROUTE, **{place: 'connection_rate = "10/m",'})
    answers = [ask(p, source="127.0.0.%d" % (i + 1)) for i in range(15)]
    assert answers.count(True) == 10
    p.access(15)
    assert reasons(p) == {"answered": 10, reason: 5}


def test_a_reload_goes_on_counting_and_a_new_rate_holds_at_once(rx):
    def edit(options):
        before = p.err.text().count("reload")
        p.write_config(make_config(ROUTE, listen='"127.0.0.1:%d"' % port, options=options))
        wait_for(lambda: p.err.text().count("reload") > before, what="the reload")
        time.sleep(0.1)

    port = free_port()
    p = rx(ROUTE, listen='"127.0.0.1:%d"' % port, options='rate_per_ip = "5/h",')
    assert [ask(p) for _ in range(8)].count(True) == 5
    edit('rate_per_ip = "5/h", peek_timeout = "4s",')
    assert not any(ask(p) for _ in range(8))
    edit('rate_per_ip = "1000/s",')
    assert all(ask(p) for _ in range(8))


@pytest.mark.parametrize("action", ["refuse", "drop"])
def test_over_limit_says_how_they_are_turned_away(rx, action):
    p = rx(ROUTE, options='max_connections = 1, over_limit = rx.%s,' % action)
    with p.connect() as inside:
        inside.sendall(b"G")
        time.sleep(0.1)
        try:  # the reset may be there before connect() is over
            with socket.create_connection(("127.0.0.1", p.port), 3) as s:
                end = s.recv(10)
        except ConnectionResetError:
            end = "reset"
        assert end == ("reset" if action == "refuse" else b"")
    assert p.access(1)[0]["reason"] == "limit_listener"


LIMITS = {
    "limit_server": ("max_connections = 1,", ""), "limit_listener": ("", "max_connections = 1,"),
    "limit_ip": ("", "max_connections_per_ip = 1,"), "limit_pending": ("", "max_pending = 1,"),
    "rate_server": ("connection_rate = '1/h',", ""), "rate_listener": ("", "connection_rate = '1/h',"),
    "rate_ip": ("rate_per_ip = '1/h',", "")}


@pytest.mark.parametrize("reason", LIMITS)
def test_over_limit_holds_for_every_limit_and_wherever_it_stands(rx, reason):
    """Said of the server it is every listener's; what a listener says comes first."""
    for server, listener, end in (("drop", None, b""), ("refuse", "drop", b""), ("drop", "tarpit", None)):
        p = rx(ROUTE, server=LIMITS[reason][0] + "over_limit = rx.%s," % server,
               options=LIMITS[reason][1] + ("over_limit = rx.%s," % listener if listener else ""))
        with p.connect() as inside:
            inside.sendall(b"S")
            time.sleep(0.05)
            with p.connect() as s:
                p.access(1, where=lambda line: line["reason"] == reason)
                s.settimeout(0.2)
                try:
                    got = s.recv(10)
                except socket.timeout:
                    got = None
                assert got == end, (server, listener)
        p.stop()


def test_a_tarpit_holds_few_without_answering_and_gives_their_places_to_nobody(rx):
    """Promise: held clients are no connections: others are served meanwhile; no more than 256 are held."""
    p = rx(ROUTE, options='rate_per_ip = "1/h", over_limit = rx.tarpit,')
    assert ask(p)
    held = [socket.create_connection(("127.0.0.1", p.port), 3) for _ in range(300)]
    wait_for(lambda: reasons(p).get("rate_ip") == 300, what="all to be told")
    gone = 0
    for s in held:
        s.setblocking(False)
        try:
            s.recv(1)
            gone += 1
        except BlockingIOError:
            pass
        except ConnectionResetError:
            gone += 1
    assert gone == 300 - 256
    assert ask(p, source="127.0.0.9")
    for s in held:
        s.close()
