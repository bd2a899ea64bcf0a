# SPDX-License-Identifier: MIT
"""A new config on trial: it gets its share, it is compared, and it is promoted or goes again by itself."""
import glob
import json
import os
import re
import signal
import socket
import time

import pytest

import peers
import wire
from harness import SANITIZER, free_port, make_config, wait_for
from test_reload import edit, to
from test_routing import ask

pytestmark = pytest.mark.sanitize
SLOW = 4 if SANITIZER else 1


def canary(share="25%", watch="60s"):
    return 'canary = { share = "%s", watch = "%s" },' % (share, watch)


def route(backend, more="", **parts):
    parts.setdefault("server", canary())
    return to(backend, more, **parts)


def status(p):
    path = glob.glob(os.path.join(p.directory, "refractium", "*.sock"))[0]
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(10)
        s.connect(path)
        s.sendall(b'{"cmd":"status"}\n')
        data = b""
        while not data.endswith(b"\n"):
            part = s.recv(1 << 16)
            if not part:
                break
            data += part
    return json.loads(data)["result"]


def history(p):
    """The reloads as `status` shows them, the latest first."""
    return status(p)["reloads"]


@pytest.fixture
def a(backends):
    return backends(peers.named("a"))


@pytest.fixture
def b(backends):
    return backends(peers.named("b"))


def answers(p, times, says=wire.SSH):
    return "".join(ask(p, says) for _ in range(times))


def test_the_new_config_gets_its_share_and_is_promoted(rx, a, b):
    """Promise: exactly its share of new connections, then all of them."""
    p = rx.config(route(a))
    edit(p, route(b, server=canary("25%", "%ds" % (2 * SLOW))))
    assert answers(p, 40).count("b") == 10
    p.err.wait(r"canary: generation 2 promoted")
    wait_for(lambda: answers(p, 8) == "b" * 8, what="all to be served by the new config")


def test_a_share_is_a_share_of_each_worker(rx, a, b):
    """Promise: the share holds whatever the number of workers, and before any of them has seen many."""
    p = rx.config(route(a, workers=4))
    edit(p, route(b, workers=4, server=canary("50%")))
    assert 90 <= answers(p, 200).count("b") <= 110


def test_a_config_that_recognises_less_is_rolled_back(rx, a, b):
    """Promise: when more connections find no route than before, it goes by itself, and says why."""
    p = rx.config(route(a, "{ rx.http, to = %s }" % a.quoted))
    edit(p, route(b, server=canary("50%")))  # http is forgotten
    for _ in range(40):
        ask(p, wire.get())
    line = p.err.wait(r"canary: generation 2 rolled back: connections no route took: (\d+) of (\d+), and 0 of \d+")
    assert 3 <= int(line.group(1)) == int(line.group(2))
    wait_for(lambda: answers(p, 10, wire.get()) == "a" * 10, what="the old config to serve everybody")
    assert answers(p, 10) == "a" * 10


def test_a_config_whose_backend_is_down_is_rolled_back(rx, a):
    """Promise: failed connects beyond those of the running config end the trial."""
    p = rx.config(route(a))
    edit(p, make_config('{ rx.ssh, to = "127.0.0.1:%d" }' % free_port(), server=canary("50%")))
    for _ in range(40):
        ask(p, wire.SSH)
    p.err.wait(r"canary: generation 2 rolled back: failed connects")
    wait_for(lambda: answers(p, 10) == "a" * 10, what="the old config to serve everybody")


SCRIPTED = "{ rx.ssh, when = function(conn) %s end, to = %s }, { rx.any, to = %s }"


@pytest.mark.parametrize("body, why", [("error('no')", "script errors"), ("while true do end", "was quarantined")])
def test_a_config_whose_functions_fail_is_rolled_back(rx, a, body, why):
    """Promise: script errors beyond those of the running config end the trial, a quarantine ends it at once."""
    p = rx.config(make_config(SCRIPTED % ("return true", a.quoted, a.quoted), server=canary("50%")))
    edit(p, make_config(SCRIPTED % (body, a.quoted, a.quoted), server=canary("50%")))
    for _ in range(40):
        assert ask(p, wire.SSH) == "a"
    p.err.wait(r"canary: generation 2 rolled back: .*" + why)


def test_what_was_bad_before_is_no_reason(rx, a, b):
    """Promise: the measure is the running config, not perfection."""
    dead = '{ rx.http, to = "127.0.0.1:%d" }' % free_port()
    p = rx.config(route(a, dead))
    edit(p, route(b, dead, server=canary("50%", "%ds" % (2 * SLOW))))
    for _ in range(30):
        ask(p, wire.get())
        ask(p, wire.GARBAGE)
    p.err.wait(r"canary: generation 2 promoted")
    assert not p.err.find("rolled back")


def test_a_further_edit_takes_the_candidates_place(rx, backends, a, b):
    """Promise: one candidate at a time; without `canary` the edit is taken at once, candidate or not."""
    c = backends(peers.named("c"))
    p = rx.config(route(a))
    edit(p, route(b))
    edit(p, route(c))
    assert set(answers(p, 20)) == {"a", "c"}
    assert p.err.find(r"canary: generation 2 ends: a later edit takes its place")
    edit(p, to(b))
    assert answers(p, 10) == "b" * 10
    assert [e["result"] for e in history(p)] == ["accepted", "replaced", "replaced"]


def test_a_broken_edit_leaves_the_candidate_alone(rx, a, b):
    """Promise: a broken edit changes nothing, a trial neither."""
    p = rx.config(route(a))
    edit(p, route(b))
    edit(p, "this is no Lua", r"reload \(.*\): refused")
    assert set(answers(p, 20)) == {"a", "b"}


def test_addresses_change_only_at_the_end(rx, a, b):
    """Promise: while it is on trial no address comes or goes; afterwards they do."""
    first, second, third = free_port(), free_port(), free_port()
    p = rx.config(route(a, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (first, second)), binds=2)

    def is_open(port):
        try:
            p.connect(port=port).close()
            return True
        except ConnectionRefusedError:
            return False

    edit(p, route(b, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (second, third), server=canary("50%", "%ds" % (3 * SLOW))))
    assert "".join(ask(p, wire.SSH, port=first) for _ in range(10)) == "a" * 10
    assert {ask(p, wire.SSH, port=second) for _ in range(10)} == {"a", "b"}
    assert not is_open(third)
    p.err.wait("canary: generation 2 promoted")
    wait_for(lambda: not is_open(first), what="the old address to be closed")
    assert ask(p, wire.SSH, port=third) == ask(p, wire.SSH, port=second) == "b"


def test_who_came_in_during_a_trial_is_counted_where_the_new_config_counts(rx, a, b):
    """Promise: counts outlive generations, also where an edit changes what a listener is called."""
    first, second = free_port(), free_port()
    p = rx.config(route(a, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (first, second)), binds=2)
    edit(p, route(b, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (second, first), options='peek_timeout = "60s",',
                  server=canary("50%", "%ds" % (2 * SLOW))))
    silent = [p.connect(port=first) for _ in range(2)]
    p.err.wait("canary: generation 2 promoted")
    for s in silent:
        s.close()

    def counted():
        listener, = status(p)["listeners"]
        return listener["name"] == "127.0.0.1:%d" % second and listener["unrouted"]["ended"]

    wait_for(lambda: counted() == 1, what="the one that was the trial's")


def test_an_address_that_is_taken_at_the_end_rolls_back(rx, a, b):
    """Promise: what cannot be had when the trial ends leaves the running config in place."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = free_port()
        p = rx.config(route(a, listen='"127.0.0.1:%d"' % port))
        edit(p, route(b, listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (port, taken.getsockname()[1]),
                      server=canary("50%", "1s")))
        p.err.wait("canary: generation 2 rolled back: a new address cannot be had")
    wait_for(lambda: answers(p, 10) == "a" * 10, what="the old config to serve everybody")


def test_limits_are_one_for_both(rx, backends):
    """Promise: a listener's count is shared by both generations while they serve side by side."""
    echo = backends()

    def config(comment):
        return make_config("{ rx.ssh, to = %s }" % echo.quoted, options="max_connections = 4, " + comment,
                           server=canary("50%"))

    p = rx.config(config("-- one\n"))
    edit(p, config("-- two\n"))
    def is_let_in(s):
        try:
            s.sendall(wire.SSH)
            return bool(s.recv(100))
        except ConnectionError:
            return False

    inside = []
    for _ in range(8):
        try:
            s = p.connect()
        except ConnectionError:
            continue
        if is_let_in(s):
            inside.append(s)
        else:
            s.close()
    assert len(inside) == 4
    for s in inside:
        s.close()


def test_a_live_connection_stays_with_its_candidate(rx, a, backends):
    """Promise: who was let in by a candidate that is rolled back stays in."""
    echo = backends()
    p = rx.config(route(a, "{ rx.http, to = %s }" % a.quoted))
    edit(p, route(echo, server=canary("50%")))
    for _ in range(4):
        s = p.connect()
        s.sendall(wire.SSH)
        if s.recv(len(wire.SSH)) == wire.SSH:
            break
        s.close()
    for _ in range(40):
        ask(p, wire.get())
    p.err.wait("rolled back")
    time.sleep(0.2)
    s.sendall(b"still here")
    assert peers.read_exactly(s, 10) == b"still here"
    s.close()


def test_sighup_tries_too_and_stopping_ends_a_trial(rx, a, b):
    """Promise: SIGHUP goes the same way; a stop in the middle of a trial is a stop."""
    p = rx.config(route(a, server=canary() + "hot_reload = false,"))
    p.write_config(route(b, server=canary() + "hot_reload = false,"))
    p.signal(signal.SIGHUP)
    p.err.wait(r"reload \(SIGHUP, pid %d, uid %d\): .*canary: 25%% of new connections for 60 s" % (os.getpid(), os.getuid()))
    assert set(answers(p, 8)) == {"a", "b"}
    assert p.stop() == 0


def test_history_tells_what_became_of_reloads(rx, a, b):
    """Promise: when, who, what changed, result with findings, generations; the latest first, bounded."""
    p = rx.config(to(a))
    edit(p, to(b, "{ rx.http, name = 'web', max_connections = 7, to = %s }" % b.quoted))
    edit(p, "nonsense", r"reload \(.*\): refused")
    p.write_config(route(a))
    p.err.wait(r"; canary: 25% of new connections for 60 s")
    latest = history(p)
    assert [e["result"] for e in latest] == ["canary", "refused", "accepted"]
    assert [e["number"] for e in latest] == [3, 2, 1]
    taken, refused = latest[2], latest[1]
    assert taken["why"] == "the file changed" and taken["who"] == "refractium.lua"
    assert abs(taken["time_ms"] / 1000 - time.time()) < 60
    assert taken["took_us"] > 0 and (taken["from_generation"], taken["to_generation"]) == (1, 2)
    assert taken["changes"]["routes"] == {"added": {"n": 1, "names": ["web"]}, "changed": {"n": 1, "names": ["ssh"]}}
    assert refused["to_generation"] is None and any("refractium.lua:1" in f for f in refused["findings"])
    removed = latest[0]["changes"]
    assert removed["routes"]["removed"]["names"] == ["web"]
    assert removed["server"]["changed"]["n"] == 1
    assert latest[0]["from_generation"] == 2
    for _ in range(55):
        before = len(re.findall(r"reload \(SIGHUP", p.errors()))
        p.signal(signal.SIGHUP)
        wait_for(lambda n=before: len(re.findall(r"reload \(SIGHUP", p.errors())) > n, what="the reload")
    latest = history(p)
    assert len(latest) == 50 and latest[0]["number"] == 58
    assert latest[0]["who"] == "pid %d, uid %d" % (os.getpid(), os.getuid())


def test_a_config_that_is_loaded_again_has_not_changed(rx, a):
    """Promise: what an edit changed is told by name, also inside functions; what only moved has not changed."""
    text = to(a, """
      { rx.tls, sni = { "a.test", "*.b.test" }, alpn = "h2", ech = false, to = rx.refuse },
      { rx.http, name = "f", max_connections = 5, to = function(conn)
          return nil
        end },
      { game, idle_timeout = "5s", when = function(conn) return true end, to = p, fallback = { "127.0.0.1:9" } },
    """, prelude='''local game = rx.protocol "game" { prefix = "GAME", samples = { yes = { "GAME1" } } }
    local p = rx.pool "p" { "127.0.0.1:1", { "127.0.0.1:2", weight = 3 }, balance = function(conn, pool) return 1 end }''',
              options="max_connections_per_ip = 9,\n on_accept = function(conn) end,")
    p = rx.config(text)
    edit(p, text.replace("local rx", "-- moved\n\nlocal rx"))
    assert p.err.wait(r"generation 2: (.*)").group(1).startswith("no change")
    edit(p, text.replace("return nil", "return rx.drop").replace("GAME1", "GAME2").replace("weight = 3", "weight = 4")
         .replace("max_connections_per_ip = 9", "max_connections_per_ip = 8"))
    line = p.err.wait(r'generation 3: (.*?)"}').group(1)
    assert line == "routes: ~f; pools: ~p; limits: ~127.0.0.1:0 max_connections_per_ip 9 -> 8"
