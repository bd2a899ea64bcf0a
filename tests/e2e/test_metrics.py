# SPDX-License-Identifier: MIT
"""What /metrics says, read as Prometheus reads it."""
import concurrent.futures
import http.client
import json
import re
import shutil
import socket
import subprocess
import time

import pytest

import peers
import wire
from harness import make_config, wait_for
from test_state import ask, reload, reloads

parser = pytest.importorskip("prometheus_client.parser", reason="python3-prometheus-client is not installed")

pytestmark = pytest.mark.sanitize


def server(more=""):
    return 'metrics = "127.0.0.1:0", ' + more


def http_port(p):
    return int(p.err.wait(r"metrics on http://127\.0\.0\.1:(\d+)/").group(1))


def fetch(p, path="/metrics", method="GET", **headers):
    link = http.client.HTTPConnection("127.0.0.1", http_port(p), timeout=10)
    try:
        link.request(method, path, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = link.getresponse()
        return answer.status, answer.read().decode()
    finally:
        link.close()


class Metrics:
    def __init__(self, text):
        self.text = text
        self.samples = [s for family in parser.text_string_to_metric_families(text) for s in family.samples]

    def __call__(self, name, **labels):
        """The sum of all samples of this name with these labels."""
        return sum(s.value for s in self.samples
                   if s.name == name and all(s.labels.get(k) == v for k, v in labels.items()))


def metrics(p):
    status, text = fetch(p)
    assert status == 200
    return Metrics(text)


def settled(p, **labels):
    """Metrics in which connections with these labels are there: a close is counted a moment after the client sees it."""
    wait_for(lambda: metrics(p)("refractium_connections_total", **labels) > 0, what="the count of %s" % labels)
    time.sleep(0.1)
    return metrics(p)


def test_connections_bytes_and_backends_are_counted_by_route(rx, backends):
    """Promise: every connection is counted once, under its listener, route, protocol and reason."""
    web = backends(peers.named("hello"))
    p = rx('{ rx.http, to = %s, name = "web" }, { rx.ssh, to = "127.0.0.1:1", name = "dead" }' % web.quoted,
           server=server(), workers=2)
    for _ in range(7):
        ask(p, wire.get())
    ask(p, wire.SSH)
    ask(p, b"\0\0nothing")
    m = settled(p, reason="no_route")
    assert m("refractium_connections_total", route="web", protocol="http") == 7
    assert m("refractium_connections_total", route="dead", reason="backend_down") == 1
    assert m("refractium_connections_total", route="", reason="no_route") == 1
    assert m("refractium_accepted_total") == 9
    assert m("refractium_bytes_total", route="web", direction="in") == 7 * len(wire.get())
    assert m("refractium_bytes_total", route="web", direction="out") == 7 * len(b"hello")
    assert m("refractium_backend_connects_total", address="127.0.0.1:%d" % web.port) == 7
    assert m("refractium_backend_failures_total", address="127.0.0.1:1") == 1
    assert m("refractium_identify_seconds_count") == 9
    assert m("refractium_connect_seconds_count") == 7
    assert m("refractium_connection_seconds_bucket", le="+Inf") == m("refractium_connection_seconds_count") == 9
    assert m("refractium_connections_active") == 0


def test_active_connections_and_a_reload_that_keeps_counts(rx, backends):
    """Promise: those inside are shown under their route; a reload keeps the counts of routes that keep their name."""
    config = make_config('{ rx.ssh, to = %s, name = "shell" }, { rx.http, to = rx.respond "x", name = "web" }'
                         % backends().quoted, server=server(), workers=2)
    p = rx.config(config)
    ask(p, wire.get())
    with p.connect() as inside, p.connect():
        inside.sendall(wire.SSH)
        wait_for(lambda: metrics(p)("refractium_connections_active", route="shell") == 1, what="the one inside")
        wait_for(lambda: metrics(p)("refractium_connections_active", route="") == 1, what="the silent one")
        reload(p, config + "-- edited\n")
        assert reloads(p) == 1
        ask(p, wire.get())
        wait_for(lambda: metrics(p)("refractium_connections_total", route="web") == 2, what="both")
        assert metrics(p)("refractium_connections_active", route="shell") == 1
        assert metrics(p)("refractium_config_generation") == 2
    wait_for(lambda: metrics(p)("refractium_connections_active") == 0, what="all to leave")


COUNTER = """local hits = rx.counter "hits_total" { help = "Requests\\\\paths.", labels = { "path" } }
             local last = rx.gauge "last" {}"""
COUNTING = """{ rx.http, when = function(conn) hits:inc(conn.path) last:set(#conn.path) return true end,
                to = rx.respond "x" }"""


def test_a_script_s_counter_counts_across_workers_and_reloads(rx):
    """Promise: a counter is exact over all workers, kept by a reload, and label values cannot break the text."""
    config = make_config(COUNTING, prelude=COUNTER, workers=2, server=server())
    p = rx.config(config)
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda i: ask(p, wire.get(path="/%d" % (i % 5))), range(300)))
    m = metrics(p)
    assert m("hits_total") == 300 and m("hits_total", path="/3") == 60 and m("last") == 2
    reload(p, config + "-- edited\n")
    assert reloads(p) == 1
    ask(p, wire.get(path='/"\\'))
    m = metrics(p)
    assert m("hits_total") == 301 and m("hits_total", path='/"\\') == 1


def test_a_metric_that_changes_its_kind_is_refused(rx):
    """Promise: a conflict with a metric in use is a load error, and the running config stays."""
    config = make_config(COUNTING, prelude=COUNTER, server=server())
    p = rx.config(config)
    ask(p, wire.get())
    reload(p, config.replace('labels = { "path" }', 'labels = { "where" }'))
    p.err.wait(r'counter .*hits_total.*is in use with other labels')
    assert ask(p, wire.get()) == "x" and reloads(p) == 0
    assert metrics(p)("hits_total") == 2


def test_bans_functions_and_tables_are_shown(rx):
    """Promise: bans, errors of functions, quarantine, and shared tables have their numbers."""
    p = rx("""{ rx.http, when = function(conn)
                if conn.path == "/ban" then rx.ban("192.0.2.0/24", "1h") end
                if conn.path == "/err" then error "mine" end
                if conn.path == "/loop" then while true do end end
                seen:set(conn.path, 1)
                return true end, to = rx.respond "x" }""",
           prelude='local seen = rx.shared "seen" { max_entries = 2 }', server=server())
    for path in ("/a", "/ban", "/c", "/err", "/loop"):
        ask(p, wire.get(path=path))
    m = metrics(p)
    assert m("refractium_bans") == 1 and m("refractium_bans_total") == 1
    assert m("refractium_script_errors_total", function="1") == 2 and m("refractium_script_quarantined", function="1") == 1
    assert m("refractium_shared_entries", table="seen") == 2 and m("refractium_shared_evicted_total", table="seen") == 1


def test_the_other_pages(rx):
    """Promise: health, readiness until it stops, status as JSON, and words for everything else."""
    p = rx('{ rx.ssh, to = rx.tarpit }', server=server())
    assert fetch(p, "/healthz") == (200, "ok\n") and fetch(p, "/readyz") == (200, "ready\n")
    assert json.loads(fetch(p, "/status.json")[1])["pid"] == p.pid
    assert fetch(p, "/nothing")[0] == 404 and fetch(p, "/metrics", "POST")[0] == 405
    assert fetch(p, "/metrics", "HEAD") == (200, "")


def test_it_is_not_ready_while_it_stops(rx, backends):
    """Promise: /readyz says 503 while connections may finish."""
    p = rx("{ rx.ssh, to = %s }" % backends().quoted, server=server('drain_timeout = "20s",'))
    with p.connect() as inside:
        inside.sendall(wire.SSH)
        wait_for(lambda: metrics(p)("refractium_connections_active", route="ssh") == 1, what="a connection")
        p.signal(15)
        wait_for(lambda: fetch(p, "/readyz") == (503, "stopping\n"), what="not ready")
        assert fetch(p, "/healthz")[0] == 200


def test_a_token_is_asked_for(rx):
    """Promise: with metrics_token only its bearer reads; health needs none."""
    p = rx("{ rx.http, to = rx.drop }", server=server('metrics_token = "s3cret",'))
    assert fetch(p)[0] == 401
    assert fetch(p, "/status.json", Authorization="Bearer s3cre")[0] == 401
    assert fetch(p, Authorization="Bearer s3cretx")[0] == 401
    assert fetch(p, Authorization="Bearer s3cret")[0] == 200
    assert fetch(p, "/healthz")[0] == 200


def test_an_address_in_use_is_told_and_ends_the_start(rx):
    """Promise: as for a listener, exit code 2 and the reason."""
    with socket.create_server(("127.0.0.1", 0)) as s:
        address = "127.0.0.1:%d" % s.getsockname()[1]
        p = rx("{ rx.http, to = rx.drop }", server='metrics = "%s",' % address, binds=0)
        p.expected_code = 2
        assert p.wait_exit() == 2
        assert re.search("cannot serve metrics on %s: Address already in use" % re.escape(address), p.errors())


def test_promtool_finds_no_fault(rx):
    """Promise: Prometheus's own checker accepts all of it."""
    promtool = shutil.which("promtool")
    if not promtool:
        pytest.skip("promtool is not installed")
    p = rx(COUNTING, prelude=COUNTER.replace("gauge \"last\" {}", 'gauge "last" { help = "x" }')
           + ' rx.shared "t" {}', server=server())
    ask(p, wire.get(path='/"\\'))
    ask(p, wire.SSH)
    done = subprocess.run([promtool, "check", "metrics"], input=fetch(p)[1].encode(), capture_output=True, timeout=30)
    assert done.returncode == 0, done.stdout + done.stderr
