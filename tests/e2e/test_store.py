# SPDX-License-Identifier: MIT
"""Two nodes on one real Redis: identities, bans, and what becomes of them when it goes away and comes back."""
import os
import signal
import subprocess
import time

import pytest

from harness import SANITIZER, Program, find_program, free_port, wait_for
from test_admin import Admin, path_of
from test_sessions import come, is_closed

pytestmark = pytest.mark.sanitize

SOON = 0.1  # what another node needs to hear of something, at most
LIMITS = "enforce = {}, window = '300ms', timeout = '300ms'"


class Redis:
    def __init__(self, directory, *more):
        path = find_program("redis-server")
        if not path:
            pytest.skip("redis-server is not installed")
        self.port, self.socket = free_port(), os.path.join(directory, "redis.sock")
        self.argv = [path, "--port", str(self.port), "--bind", "127.0.0.1", "--unixsocket", self.socket, "--save", "",
                     "--dir", directory, *more]
        self.start()

    def start(self):
        self.program = Program(self.argv).wait_listening(self.port)

    def kill(self):
        self.program.process.send_signal(signal.SIGKILL)
        self.program.process.wait()

    def ask(self, *words):
        return subprocess.run(["redis-cli", "-p", str(self.port), *map(str, words)], capture_output=True, text=True,
                              check=True, timeout=10).stdout.split("\n")[:-1]


@pytest.fixture
def redis(workdir):
    server = Redis(workdir)
    yield server
    server.program.stop()


def config(url, sessions=LIMITS, server=""):
    return """local rx = require "refractium"
rx.server { workers = 2, access_log = "access.log", log_format = "json", store = "%s", %s }
local vpn = rx.sessions "vpn" { by = function(conn) return conn.host end, %s }
rx.listen "127.0.0.1:0" { routes = { { rx.http, sessions = vpn, to = rx.echo } } }
""" % (url, server, sessions)


def ask(p, cmd, **members):
    with Admin(path_of(p)) as admin:
        return admin.ask(cmd, **members)


def status(p):
    return ask(p, "status")["result"]


def store(p):
    return status(p)["store"]


def nodes(rx, url, count=2, **how):
    out = [rx.config(config(url, **how)) for _ in range(count)]
    for p in out:
        p.err.wait("sessions and bans are shared")
    return out


def url_of(redis):
    return "redis://127.0.0.1:%d/3" % redis.port


def test_an_identity_on_one_node_is_full_on_the_other(rx, redis):
    a, b = nodes(rx, url_of(redis))
    with come(a, "127.0.0.2"):
        holds(redis, "127.0.0.2")
        assert come(b, "127.0.0.3") is None
        with come(b, "127.0.0.2"):  # the same address
            pass
        with come(b, "127.0.0.4", "two.test"):
            holds(redis, "127.0.0.4", "two.test")
            keys = redis.ask("-n", 3, "keys", "refractium:sessions:*")
            assert set(keys) == {"refractium:sessions:vpn:one.test", "refractium:sessions:vpn:two.test"}
            left = [int(redis.ask("-n", 3, "pttl", k)[0]) for k in keys]
            assert all(0 < ms <= 5000 for ms in left), left
        assert come(a, "127.0.0.5") is None  # longer than its window: it is held


def test_a_place_is_free_everywhere_once_its_window_is_over(rx, redis):
    a, b = nodes(rx, url_of(redis))
    come(a, "127.0.0.2").close()
    wait_for(lambda: (s := come(b, "127.0.0.3")) and not s.close(), 3, pause=0.05)
    wait_for(lambda: redis.ask("-n", 3, "dbsize") == ["0"], 3, pause=0.05)  # nothing stays


def test_two_that_come_at_once_are_judged_by_redis(rx, redis):
    a, b = nodes(rx, url_of(redis))
    for round_ in range(8):
        host = "at-once-%d.test" % round_
        one, two = come(a, "127.0.0.2", host), come(b, "127.0.0.3", host)
        alive = lambda: [s for s in (one, two) if s and not ended(s)]
        wait_for(lambda: len(alive()) == 1, 3)
        time.sleep(SOON / 2)
        assert len(alive()) == 1, (round_, one, two)
        for s in (one, two):
            if s:
                s.close()


def holds(redis, source, host="one.test"):
    """Redis has heard of who holds a place."""
    key = "refractium:sessions:vpn:" + host
    wait_for(lambda: any("i %s " % source in field for field in redis.ask("-n", 3, "hkeys", key)))
    time.sleep(SOON / 2)  # and so have the others


def ended(s):
    s.setblocking(False)
    try:
        return s.recv(100) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True
    finally:
        s.settimeout(10)


def test_the_last_login_closes_the_older_ones_connections_on_another_node(rx, redis, tmp_path):
    log = tmp_path / "blocked"
    a, b = nodes(rx, url_of(redis), sessions="keep = 'last', enforce = {}, block_log = '%s'" % log)
    first = come(a, "127.0.0.2")
    holds(redis, "127.0.0.2")
    with come(b, "127.0.0.3"):
        assert is_closed(first)
        assert a.access_one()["reason"] == "session_taken"
        wait_for(lambda: log.exists() and log.read_text())
        assert log.read_text().count("from 127.0.0.2 w/ origin 127.0.0.3") == 1
        assert come(a, "127.0.0.2") is None  # out here as well


def bans(p):
    return {b["ip"] for b in status(p)["bans"]["first"]}


def test_a_ban_on_one_node_is_one_on_the_other_within_a_tenth_of_a_second(rx, redis):
    a, b = nodes(rx, url_of(redis))
    took = []
    for last in range(7, 12):  # the best of five: this machine may have other things to do
        victim = come(b, "127.0.0.%d" % last, "victim-%d.test" % last)
        begin = time.monotonic()
        ask(a, "ban", ip="127.0.0.%d" % last, ttl_ms=600000)
        assert is_closed(victim)
        took.append(time.monotonic() - begin)
        if last > 7:
            ask(a, "unban", ip="127.0.0.%d" % last)
    assert min(took) < SOON or SANITIZER, took
    wait_for(lambda: bans(b) == {"127.0.0.7"})
    assert come(b, "127.0.0.7") is None
    assert redis.ask("-n", 3, "zrange", "refractium:bans", 0, -1) == ["127.0.0.7"]
    assert 590000 < int(redis.ask("-n", 3, "pttl", "refractium:bans")[0]) <= 600000
    late = nodes(rx, url_of(redis), 1)[0]
    wait_for(lambda: bans(late) == {"127.0.0.7"})
    ask(b, "unban", ip="127.0.0.7")
    wait_for(lambda: not bans(a) and not bans(late), SOON + 1)


def test_who_is_put_out_on_one_node_is_banned_on_all(rx, redis):
    a, b = nodes(rx, url_of(redis), sessions="timeout = '1m'")
    with come(a, "127.0.0.2"):
        holds(redis, "127.0.0.2")
        assert come(b, "127.0.0.3") is None
        wait_for(lambda: bans(a) == {"127.0.0.3"} == bans(b), SOON + 1)
        assert come(a, "127.0.0.3", "other.test") is None


def test_who_is_forgiven_on_one_node_is_on_all(rx, redis):
    a, b = nodes(rx, url_of(redis), sessions="window = '300ms', timeout = '1m'")
    with come(a, "127.0.0.2"):
        holds(redis, "127.0.0.2")
        assert come(b, "127.0.0.3") is None
        wait_for(lambda: bans(a) == {"127.0.0.3"} == bans(b), SOON + 1)
    time.sleep(0.5)
    ask(a, "unban", ip="127.0.0.3")
    wait_for(lambda: not bans(b), SOON + 1)
    for p in a, b:
        with come(p, "127.0.0.3") as again:
            time.sleep(SOON)
            assert not ended(again)


def test_without_redis_each_goes_on_alone_and_tells_everything_when_it_is_back(rx, redis):
    a, b = nodes(rx, url_of(redis), sessions="enforce = {}, window = '1s', timeout = '300ms'")
    held = come(a, "127.0.0.2")
    ask(a, "ban", ip="127.0.0.8", ttl_ms=600000)
    ask(a, "ban", ip="127.0.0.10", ttl_ms=600000)
    wait_for(lambda: bans(b) == {"127.0.0.8", "127.0.0.10"})
    redis.kill()
    for p in (a, b):
        p.err.wait("decides alone")
        assert not store(p)["is_up"]
    ask(a, "ban", ip="127.0.0.9", ttl_ms=600000)
    ask(b, "unban", ip="127.0.0.10")
    assert come(a, "127.0.0.3") is None  # local decisions go on
    assert come(b, "127.0.0.4", "b.test")
    assert come(b, "127.0.0.10", "c.test")
    time.sleep(0.3)
    assert sum("decides alone" in line for line in a.err.lines) == 1  # said once, however often it was tried
    redis.start()  # with nothing in it
    for p in (a, b):
        wait_for(lambda: store(p)["is_up"])
        assert store(p)["outages"] == 1
    wait_for(lambda: bans(a) == bans(b) == {"127.0.0.8", "127.0.0.9"}, what="the bans of both")
    wait_for(lambda: come(b, "127.0.0.5") is None, 3)  # a's session is known again
    assert not ended(held)
    held.close()


def test_a_ban_given_again_while_redis_was_away_stays(rx, redis):
    a, = nodes(rx, url_of(redis), 1)
    ask(a, "ban", ip="127.0.0.9", ttl_ms=600000)
    redis.kill()
    a.err.wait("decides alone")
    ask(a, "unban", ip="127.0.0.9")
    ask(a, "ban", ip="127.0.0.9", ttl_ms=600000)
    ask(a, "ban", ip="127.0.0.8", ttl_ms=600000)
    redis.start()
    wait_for(lambda: store(a)["is_up"])
    wait_for(lambda: set(redis.ask("-n", 3, "zrange", "refractium:bans", 0, -1)) == {"127.0.0.8", "127.0.0.9"})
    assert bans(a) == {"127.0.0.8", "127.0.0.9"}


def test_a_redis_that_hangs_is_gone_too(rx, redis):
    a, = nodes(rx, url_of(redis), 1)
    redis.program.process.send_signal(signal.SIGSTOP)
    try:
        a.err.wait("decides alone", 10)
        begin = time.monotonic()
        assert come(a, "127.0.0.2")
        assert time.monotonic() - begin < 1
    finally:
        redis.program.process.send_signal(signal.SIGCONT)
    wait_for(lambda: store(a)["is_up"])


def test_a_node_that_dies_gives_its_places_up(rx, redis):
    a, b = nodes(rx, url_of(redis))
    with come(a, "127.0.0.2"):
        holds(redis, "127.0.0.2")
        assert come(b, "127.0.0.3") is None
        a.process.kill()
        a.process.wait()
        a.is_stopped, a.expected_code = True, -9
        wait_for(lambda: (s := come(b, "127.0.0.4")) and not s.close(), 10, pause=0.2)


def test_a_password_is_used_and_never_shown(rx, workdir):
    server = Redis(workdir, "--requirepass", "s3cr%t word")
    try:
        url = "redis://:s3cr%25t%20word@127.0.0.1:" + str(server.port)
        a, = nodes(rx, url, 1)
        assert store(a)["at"] == "redis://127.0.0.1:%d/0" % server.port
        wrong = rx.config(config("redis://me:s3crets@127.0.0.1:%d" % server.port))
        wrong.err.wait("WRONGPASS")
        a.write_config(config("unix://:s3cr%25t%20word@" + server.socket))  # and by its socket, after a reload
        a.err.wait("unix:.*sessions and bans are shared")
        for p in (a, wrong):
            assert "s3cr" not in p.err.text() + str(status(p))
    finally:
        server.program.stop()


def test_what_others_write_to_the_channel_harms_nobody(rx, redis):
    a, = nodes(rx, url_of(redis), 1)
    for text in ("", "x", "s", "s a", "b node -1 127.0.0.1", "b node 5000 nobody", "s n tcp vpn - 1 i,1.2.3.4,5 x", "\r\n",
                 "s n tcp vpn - 99999999 i", "s n tcp vpn - 1 i,127.0.0.2,0,1000 ", "s n tcp none - 0 - one.test"):
        redis.ask("publish", "refractium:3", text)
    wait_for(lambda: store(a)["failed"] >= 10)
    redis.ask("publish", "refractium:3", "s n tcp vpn - 1 i,127.0.0.2,0,60000 one.test")
    wait_for(lambda: come(a, "127.0.0.3") is None)
    redis.ask("script", "flush")
    come(a, "127.0.0.4", "after.test")
    wait_for(lambda: store(a)["outages"] == 1 and store(a)["is_up"])


def test_a_name_is_looked_up_and_one_that_is_none_harms_nobody(rx, redis):
    a, = nodes(rx, "redis://localhost:%d" % redis.port, 1)
    with come(a, "127.0.0.2"):
        pass
    b = rx.config(config("redis://no-such-host.invalid"))
    b.err.wait("decides alone")
    with come(b, "127.0.0.2"):
        pass


def test_sessions_may_be_shared_alone_or_not_at_all(rx, redis):
    def text(server, sessions):
        return config(url_of(redis), sessions=LIMITS + sessions).replace('store = "%s", ' % url_of(redis), server)

    own = [rx.config(text("", ", store = '%s'" % url_of(redis))) for _ in range(2)]
    for p in own:
        p.err.wait("are shared")
    with come(own[0], "127.0.0.2"):
        holds(redis, "127.0.0.2")
        assert come(own[1], "127.0.0.3") is None
    alone = [rx.config(text("store = '%s', " % url_of(redis), ", store = false")) for _ in range(2)]
    for p in alone:
        p.err.wait("are shared")
    with come(alone[0], "127.0.0.2", "x.test"):
        time.sleep(SOON)
        assert come(alone[1], "127.0.0.3", "x.test")
