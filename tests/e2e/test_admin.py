# SPDX-License-Identifier: MIT
"""The admin socket and the commands that use it: two instances side by side, who may ask, what each command does."""
import contextlib
import fcntl
import json
import os
import pty
import re
import signal
import socket
import struct
import subprocess
import termios
import threading
import time

import pytest

import peers
import wire
from harness import BINARY, Refractium, free_port, make_config, run_binary, wait_for

pytestmark = pytest.mark.sanitize

STATUS_SHAPE = {
    "version": str, "pid": int, "started": int, "uptime_ms": int, "stopping": bool, "workers": int, "log_level": str,
    "config": {"file": (str, type(None)), "generation": int},
    "totals": {"active": int, "sessions": int, "accepted": int, "bytes_in": int, "bytes_out": int, "spliced_in": int, "spliced_out": int,
               "retries": int, "mirrored": int, "mirror_lost": int, "mirrors_given_up": int, "lost": dict, "closed": dict, "max_connections": int},
    "listeners": [{"name": str, "where": str, "addresses": [str], "active": int, "pending": int,
                   "unrouted": {"ended": int, "bytes_in": int, "bytes_out": int, "closed": dict},
                   "routes": [{"name": str, "where": str, "protocol": str, "to": str, "active": (int, type(None)),
                               "ended": int, "bytes_in": int, "bytes_out": int, "closed": dict}]}],
    "pools": [{"name": str, "anonymous": bool,
               "backends": [{"name": str, "address": str, "weight": int, "backup": bool, "active": int,
                             "connects": int, "failures": int, "state": str}]}],
    "bans": {"now": int, "added": int, "refused": int, "first": [{"ip": str, "left_ms": int}]},
    "reloads": [{"number": int, "time_ms": int, "why": str, "who": str, "result": str, "note": (str, type(None)),
                 "findings": [str], "took_us": int, "from_generation": int, "to_generation": (int, type(None))}],
    "scripts": [{"where": str, "kind": str, "errors": int, "quarantined": bool, "last_error": (str, type(None)),
                 "last_error_ms": (int, type(None))}],
    "canary": (dict, type(None)), "store": (dict, type(None)),
    "hooks": [{"name": str, "where": str, "lost_bytes": int, "lost_connections": int}],
}
FLOW_SHAPE = {
    "conn": str, "client": str, "protocol": (str, type(None)), "route": (str, type(None)), "to": (str, type(None)),
    "room": str, "age_ms": int, "idle_ms": int, "bytes_in": int, "bytes_out": int, "rate_in": int, "rate_out": int,
    "pump_in": str, "pump_out": str, "rtt_client_us": (int, type(None)), "rtt_server_us": (int, type(None)),
}


def fits(value, shape, where="$"):
    """Members may be added later; those documented must be there and of their type."""
    if isinstance(shape, dict):
        assert isinstance(value, dict), where
        for key, inner in shape.items():
            assert key in value, "%s.%s" % (where, key)
            fits(value[key], inner, "%s.%s" % (where, key))
    elif isinstance(shape, list):
        assert isinstance(value, list), where
        for i, item in enumerate(value):
            fits(item, shape[0], "%s[%d]" % (where, i))
    else:
        is_bool_for_int = isinstance(value, bool) and shape is int
        assert isinstance(value, shape) and not is_bool_for_int, "%s: %r" % (where, value)


def path_of(p, port=None):
    return os.path.join(p.directory, "refractium", "%d.sock" % (port or p.port))


class Admin:
    """A client that speaks the protocol itself."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(20)
        wait_for(lambda: os.path.exists(path), what=path)
        self.socket.connect(path)
        self.lines = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.lines.close()
        self.socket.close()

    def send(self, data):
        self.socket.sendall(data)

    def line(self):
        return json.loads(self.lines.readline() or b"null")

    def ask(self, cmd, **members):
        self.send(json.dumps(dict(members, cmd=cmd)).encode() + b"\n")
        return self.line()


@pytest.fixture
def ctl(workdir):
    """Runs a command where the sockets of `p` are looked for."""
    def run(p, *args, **how):
        return run_binary(*args, cwd=workdir, env={"XDG_RUNTIME_DIR": p.directory}, **how)

    return run


def greeted(p, backend):
    """A connection that has been welded: (socket, id of its connection)."""
    before = {f["conn"] for f in flows(p)}
    s = p.connect()
    s.sendall(wire.SSH)
    assert s.recv(1)
    fresh = wait_for(lambda: {f["conn"] for f in flows(p)} - before, what="the flow to be seen")
    return s, fresh.pop()


def flows(p, **query):
    with Admin(path_of(p)) as a:
        return a.ask("top", **query)["result"]["flows"]


# -- where it is

def test_two_instances_live_side_by_side(rx, workdir):
    """Each is found by its port and by its config, the socket being for its owner alone; SIGTERM removes it."""
    shared = {"XDG_RUNTIME_DIR": workdir}
    one, two = [rx.config(make_config("{ rx.any, to = rx.echo }"), env=shared) for _ in range(2)]

    def ask(*args):
        return run_binary("status", "--json", *args, cwd=workdir, env=shared)

    for p in (one, two):
        path = os.path.join(workdir, "refractium", "%d.sock" % p.port)
        assert os.stat(path).st_mode & 0o777 == 0o600
        for how in (["-p", p.port], ["-c", os.path.join(p.directory, "refractium.lua")], ["--admin", path]):
            done = ask(*how)
            assert done.returncode == 0, done.err
            assert json.loads(done.out)["pid"] == p.pid
    done = ask()
    assert done.returncode == 1 and str(one.pid) in done.err and str(two.pid) in done.err
    one.stop()
    assert os.listdir(os.path.join(workdir, "refractium")) == ["%d.sock" % two.port]
    assert json.loads(ask().out)["pid"] == two.pid  # the only one: no need to say which


def test_no_instance_is_exit_code_3(workdir):
    env = {"XDG_RUNTIME_DIR": workdir}
    for how in (["-p", "1"], ["-c", "nosuch.lua"], ["--admin", "nosuch.sock"]):
        done = run_binary("status", *how, cwd=workdir, env=env)
        assert done.returncode == 3 and done.err.startswith("refractium status: "), done.err


def test_a_broken_config_file_does_not_hide_its_instance(rx, ctl):
    p = rx("{ rx.any, to = rx.echo }", args=["--no-hot-reload"])
    p.write_config("not lua")
    done = ctl(p, "status", "--json", "-c", os.path.join(p.directory, "refractium.lua"))
    assert json.loads(done.out)["pid"] == p.pid


def test_the_config_names_the_socket_or_switches_it_off(rx, ctl, workdir):
    path = os.path.join(workdir, "here.sock")
    p = rx("{ rx.any, to = rx.echo }", server='admin = "%s"' % path)
    done = ctl(p, "status", "--json", "-c", os.path.join(p.directory, "refractium.lua"))
    assert json.loads(done.out)["pid"] == p.pid, done.err
    q = rx("{ rx.any, to = rx.echo }", server="admin = false")
    assert not os.path.exists(os.path.join(q.directory, "refractium"))
    p.stop()
    assert not os.path.exists(path)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(rx, workdir):
    path = os.path.join(workdir, "a.sock")
    left = socket.socket(socket.AF_UNIX)
    left.bind(path)
    left.close()  # its file stays, nobody answers
    server = 'admin = "%s"' % path
    p = rx("{ rx.any, to = rx.echo }", server=server)
    with Admin(path) as a:
        assert a.ask("hello")["result"]["pid"] == p.pid
    q = rx("{ rx.any, to = rx.echo }", server=server)
    q.err.wait("no admin socket at .*another instance serves it")
    with Admin(path) as a:
        assert a.ask("hello")["result"]["pid"] == p.pid
    p.stop()  # the place is free: the other takes it
    q.err.wait(r"admin socket .*a\.sock")
    with Admin(path) as a:
        assert a.ask("hello")["result"]["pid"] == q.pid


def test_a_socket_that_cannot_be_made_is_a_warning(rx):
    p = rx("{ rx.any, to = rx.echo }", server='admin = "/nonexistent/a.sock"')
    p.err.wait("warning.*no admin socket at /nonexistent/a.sock")
    with p.connect() as s:
        s.sendall(b"x")
        assert s.recv(1) == b"x"


# -- who may ask

@pytest.mark.skipif(os.getuid() != 0, reason="becoming another user takes root")
def test_another_user_is_refused(rx):
    """By the file's mode, and where that was opened up, by who is at the other end."""
    p = rx("{ rx.any, to = rx.echo }")
    os.chmod(p.directory, 0o755)

    def as_nobody():
        return subprocess.run(["setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", BINARY, "status",
                               "--admin", path_of(p)], capture_output=True, text=True, cwd="/",
                              env=Refractium.environment({"XDG_RUNTIME_DIR": p.directory}))

    done = as_nobody()
    assert done.returncode == 2 and "Permission denied" in done.stderr, done
    os.chmod(path_of(p), 0o666)
    done = as_nobody()
    assert done.returncode == 2 and "permission denied" in done.stderr and not done.stdout, done


# -- what is said at it

def test_garbage_gets_an_error_and_the_next_line_an_answer(rx):
    p = rx("{ rx.any, to = rx.echo }")
    with Admin(path_of(p)) as a:
        for bad in (b"garbage\n", b"\n", b"[]\n", b"{}\n", b'{"cmd":7}\n', b'{"cmd":"nosuch"}\n', b"\x00\xff\xfe\n",
                    b'{"cmd":"status","extra":1}\n', b'{"cmd":"kill"}\n', b'{"cmd":"kill","conn":"xyz"}\n',
                    b'{"cmd":"top","limit":0}\n', b'{"cmd":"top","limit":1e3}\n', b'{"cmd":"top","sort":"x"}\n',
                    b'{"cmd":"log","level":"loud"}\n', b'{"cmd":"hello","cmd":"hello"}\n', b"[" * 4000 + b"\n"):
            a.send(bad)
            answer = a.line()
            assert answer["ok"] is False and answer["error"], bad
        assert a.ask("hello")["result"]["pid"] == p.pid


def test_a_line_that_never_ends_is_cut_off(rx):
    p = rx("{ rx.any, to = rx.echo }")
    with Admin(path_of(p)) as a:
        with contextlib.suppress(OSError):
            a.send(b"x" * 100000)
        with contextlib.suppress(ConnectionError):
            assert "at most 4096" in a.line()["error"]
            assert a.lines.readline() == b""
    with Admin(path_of(p)) as a:
        assert a.ask("hello")["ok"]


def test_lines_sent_at_once_are_answered_in_order(rx):
    p = rx("{ rx.any, to = rx.echo }")
    with Admin(path_of(p)) as a:
        a.send(b'{"cmd":"hello"}\n{"cmd":"top"}\n{"cmd":"kill","conn":"ffff"}\r\n{"cmd":"status"}\n{"cmd":"log"}\n')
        a.socket.shutdown(socket.SHUT_WR)
        got = [a.line() for _ in range(5)]
        assert "pid" in got[0]["result"] and "flows" in got[1]["result"] and got[2]["error"] == "no connection ffff"
        assert "listeners" in got[3]["result"] and got[4]["result"]["level"] == "info"
        assert a.lines.readline() == b""


def test_fifty_clients_at_once(rx):
    """All are served; beyond the bound a client is told so, and places come back."""
    p = rx("{ rx.any, to = rx.echo }")
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Admin(path_of(p))) for _ in range(50)]
        for a in crowd:
            a.send(b'{"cmd":"status"}\n{"cmd":"top"}\n')
        for a in crowd:
            assert a.line()["result"]["pid"] == p.pid and a.line()["result"]["flows"] == []
        more = [stack.enter_context(Admin(path_of(p))) for _ in range(20)]
        said = []
        for a in more:
            with contextlib.suppress(OSError):
                a.socket.settimeout(2)  # who has a place is told nothing yet
                said.append(a.line())
        assert [s for s in said if s and not s["ok"] and s["error"] == "too many clients"]
    wait_for(lambda: Admin(path_of(p)).ask("hello")["ok"], what="places to come back")


def test_clients_that_leave_early_harm_nobody(rx):
    p = rx("{ rx.any, to = rx.echo }", workers=2)
    for _ in range(50):
        a = Admin(path_of(p))
        a.send(b'{"cmd":"top"}\n{"cmd":"reload"}\n')
        a.__exit__()
    with Admin(path_of(p)) as a:
        assert a.ask("hello")["ok"]


# -- status

def test_status_is_as_documented(rx, ctl, backends):
    """Every documented member is there, of its type, and counts what happened."""
    b = backends(peers.named("b"))
    p = rx("{ rx.ssh, to = web }, { rx.http, when = function(conn) error('no') end, to = rx.echo }",
           prelude='local web = rx.pool "web" { %s, { "127.0.0.1:%d", backup = true } }' % (b.quoted, free_port()))
    with p.connect() as s:
        s.sendall(wire.SSH)
        assert s.recv(1) == b"b"
        with p.connect() as h:
            h.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert h.recv(1) == b""
        status = json.loads(ctl(p, "status", "--json").out)
    fits(status, STATUS_SHAPE)
    assert status["totals"]["active"] == 1 and status["totals"]["accepted"] == 2
    assert status["totals"]["closed"] == {"no_route": 1}
    assert status["listeners"][0]["active"] == 1
    pool = [pool for pool in status["pools"] if pool["name"] == "web"][0]
    assert pool["backends"][0]["active"] == 1 and pool["backends"][0]["connects"] == 1
    assert pool["backends"][1]["backup"] is True
    assert status["scripts"][0]["errors"] >= 1 and status["scripts"][0]["where"].startswith("refractium.lua:")
    text = ctl(p, "status").out
    for word in ("pid %d" % p.pid, "pool web", b.address, "no_route 1", "refractium.lua:"):
        assert word in text, word


# -- reload

def test_reload_waits_for_the_outcome(rx, ctl):
    p = rx("{ rx.any, to = rx.echo }", args=["--no-hot-reload"])
    good = ctl(p, "reload")
    assert good.returncode == 0 and "reload (admin, pid " in good.out and "1 listeners" in good.out, good.err
    p.write_config(make_config("{ rx.shh, to = rx.echo }"))
    bad = ctl(p, "reload")
    assert bad.returncode == 1 and "refused" in bad.err and "shh" in bad.err and not bad.out
    assert re.search(r"refractium.lua:\d+", bad.err)
    status = json.loads(ctl(p, "status", "--json").out)
    fits(status, STATUS_SHAPE)
    assert [r["result"] for r in status["reloads"]] == ["refused", "accepted"]
    assert status["config"]["generation"] == status["reloads"][1]["to_generation"]
    assert re.search("refused by admin, pid [0-9]+", ctl(p, "status").out)


def test_reloads_on_the_heels_of_each_other_are_all_answered(rx):
    p = rx("{ rx.any, to = rx.echo }", workers=2)
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Admin(path_of(p))) for _ in range(8)]
        for a in crowd:
            a.send(b'{"cmd":"reload"}\n')
        for a in crowd:
            assert a.line()["result"]["outcome"].startswith("reload (admin, pid ")


# -- kill, log

def test_kill_ends_exactly_one_connection(rx, ctl, backends):
    p = rx("{ rx.ssh, to = %s }" % backends(peers.named("b")).quoted, workers=2)
    held = [greeted(p, "b") for _ in range(4)]
    victim, name = held[2]
    done = ctl(p, "kill", name)
    assert done.returncode == 0 and done.out == "ended\n", done.err
    assert p.access_one()["reason"] == "killed" and p.access_one()["conn"] == name
    with pytest.raises(ConnectionResetError):
        while victim.recv(100):
            pass
    for s, other in held:
        if s is not victim:
            assert other in {f["conn"] for f in flows(p)}
        s.close()
    again = ctl(p, "kill", name)
    assert again.returncode == 1 and "no connection " + name in again.err


def test_log_level_changes_at_once(rx, ctl):
    p = rx("{ rx.any, to = rx.echo }")
    assert ctl(p, "log").out == "log level is info\n"
    assert ctl(p, "log", "debug").out == "log level is debug\n"
    assert ctl(p, "log", "loud").returncode == 1
    assert ctl(p, "log", "error").returncode == 0
    ctl(p, "reload")
    ctl(p, "log", "info")
    p.err.wait("log level is info")
    assert not p.err.find("reload ")


# -- ban

def test_a_banned_address_is_closed_and_kept_out(rx, ctl, backends):
    p = rx("{ rx.ssh, to = %s }" % backends(peers.named("b")).quoted)
    s, _ = greeted(p, "b")
    done = ctl(p, "ban", "127.0.0.0/8", "10m")
    assert done.returncode == 0 and done.out == "banned\n", done.err
    bans = json.loads(ctl(p, "status", "--json").out)["bans"]
    assert bans["now"] == 1 and bans["first"][0]["ip"] == "127.0.0.0/8"
    assert 590000 < bans["first"][0]["left_ms"] <= 600000
    with pytest.raises(ConnectionError), p.connect() as late:
        late.sendall(wire.SSH)
        if not late.recv(1):
            raise ConnectionError
    assert ctl(p, "unban", "127.0.0.0/8").returncode == 0
    greeted(p, "b")[0].close()
    s.close()
    again = ctl(p, "unban", "127.0.0.0/8")
    assert again.returncode == 1 and "no such ban" in again.err


def test_what_is_no_ban_is_refused(rx, ctl):
    p = rx("{ rx.any, to = rx.echo }")
    for words, said in ((["10.0.0.0/33"], "ip: "), (["here"], "ip: "), (["10.0.0.1", "10"], "unit"),
                        (["10.0.0.1", "0s"], "unit"), (["10.0.0.1", "9000d"], "ttl_ms"), ([], "needs IP")):
        done = ctl(p, "ban", *words)
        assert done.returncode == 1 and said in done.err, done.err
    assert json.loads(ctl(p, "status", "--json").out)["bans"]["now"] == 0


# -- drain

def test_a_drained_backend_gets_no_new_connections(rx, ctl, backends):
    one, two = backends(peers.named("1")), backends(peers.named("2"))
    p = rx('{ rx.ssh, to = rx.pool "web" { %s, %s } }' % (one.quoted, two.quoted))

    def who(n=6):
        got = set()
        for _ in range(n):
            with p.connect() as s:
                s.sendall(wire.SSH)
                got.add(s.recv(1))
        return got

    assert who() == {b"1", b"2"}
    held, _ = greeted(p, "1")
    assert ctl(p, "drain", one.address).returncode == 0
    assert who() == {b"2"}
    text = ctl(p, "status").out
    assert re.search(re.escape(one.address) + r".*drained", text), text
    assert ctl(p, "reload").returncode == 0
    assert who() == {b"2"}
    assert flows(p)  # who was inside stays
    assert ctl(p, "undrain", one.address).returncode == 0
    assert who() == {b"1", b"2"}
    held.close()
    done = ctl(p, "drain", "10.0.0.1:1")
    assert done.returncode == 1 and "no backend is called 10.0.0.1:1" in done.err


# -- top

def test_top_as_json_is_as_documented(rx, ctl, backends):
    p = rx("{ rx.ssh, to = %s }" % backends(peers.named("b")).quoted, workers=2)
    held = [greeted(p, "b")[0] for _ in range(3)]
    got = json.loads(ctl(p, "top", "--json").out)
    fits(got["flows"], [FLOW_SHAPE])
    assert len(got["flows"]) == 3 and got["matching"] == 3 and got["totals"]["active"] == 3
    assert {f["protocol"] for f in got["flows"]} == {"ssh"} and {f["room"] for f in got["flows"]} == {"weld"}
    assert len(flows(p, limit=2)) == 2
    assert flows(p, filter="nothing has this") == [] and len(flows(p, filter="SSH")) == 3
    one = held[0].getsockname()
    assert [f["client"] for f in flows(p, filter="%s:%d" % one)] == ["%s:%d" % one]
    ages = [f["age_ms"] for f in flows(p, sort="age")]
    assert ages == sorted(ages, reverse=True)
    for s in held:
        s.close()


def test_top_puts_the_busiest_first(rx, backends):
    p = rx("{ rx.any, to = %s }" % backends(peers.echo).quoted, options='peek_timeout = "100ms",')
    quiet, busy = p.connect(), p.connect()
    quiet.sendall(b"hello")
    assert quiet.recv(100) == b"hello"  # it is recognised, and has had its share of bytes
    is_over = threading.Event()

    def chat():
        while not is_over.wait(0.01):
            busy.sendall(b"x" * 1000)
            busy.recv(1000)

    talker = threading.Thread(target=chat)
    talker.start()
    try:
        flows(p)
        time.sleep(1.1)
        first, second = flows(p)
        assert first["client"].endswith(":%d" % busy.getsockname()[1])
        assert first["rate_in"] > 2000 and first["rate_out"] > 2000
        assert second["rate_in"] == 0
    finally:
        is_over.set()
        talker.join()
    quiet.close()
    busy.close()


class Screen:
    """A command in a terminal of its own; what it wrote, without what moves the cursor."""

    def __init__(self, *argv, env):
        self.pid, self.fd = pty.fork()
        if not self.pid:
            os.execve(argv[0], argv, env)
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 170, 0, 0))
        os.kill(self.pid, signal.SIGWINCH)
        self.text = ""
        self.code = None
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        with contextlib.suppress(OSError):
            while data := os.read(self.fd, 65536):
                self.text += re.sub(r"\x1b[\[(?>=][0-9;?]*[a-zA-Z]?", " ", data.decode("utf-8", "replace"))

    def wait(self, pattern):
        """Ctrl-L draws all of it; otherwise only what has changed is sent."""
        def is_there():
            self.text = ""
            self.key("\x0c")
            time.sleep(0.1)
            return re.search(pattern, self.text)

        try:
            return wait_for(is_there)
        except AssertionError:
            raise AssertionError("%r is not on the screen:\n%s" % (pattern, self.text)) from None

    def key(self, keys):
        os.write(self.fd, keys.encode())

    def leave(self):
        """After a test that failed on the way."""
        if self.code is None:
            os.kill(self.pid, signal.SIGKILL)
            self.end()

    def end(self):
        def has_ended():
            done, status = os.waitpid(self.pid, os.WNOHANG)
            if done:
                self.code = os.waitstatus_to_exitcode(status)
            return done

        try:
            wait_for(has_ended, what="top to end")
        finally:
            if self.code is None:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            self.reader.join(3)  # its last words
            os.close(self.fd)
        return self.code


def test_top_on_a_terminal_shows_a_live_transfer(rx, need, run_server, workdir):
    """curl fetches through the program; top shows it, sorts, filters, kills it, and q quits."""
    web = free_port()
    with open(os.path.join(workdir, "big"), "wb") as f:
        f.truncate(1 << 30)
    run_server(["python3", "-m", "http.server", "--bind", "127.0.0.1", str(web)]).wait_listening(web)
    p = rx('{ rx.http, to = "127.0.0.1:%d" }' % web)
    env = Refractium.environment({"XDG_RUNTIME_DIR": p.directory, "TERM": "xterm"})
    curl = subprocess.Popen([need("curl"), "-s", "--limit-rate", "5M", "-o", "/dev/null",
                             "http://127.0.0.1:%d/big" % p.port])
    screen = Screen(BINARY, "top", env=env)
    try:
        screen.wait(r"refractium, up \d+s: 1 connections")
        screen.wait(r"http +http +127\.0\.0\.1:%d" % web)
        screen.wait(r"splice")
        screen.wait(r"[\d.]+M/s out")
        screen.key("b")
        screen.wait("by bytes")
        screen.key("/nothing\n")
        screen.wait('with "nothing"')
        screen.key("/\n")
        screen.wait(r"127\.0\.0\.1:%d" % web)
        screen.key("\x1bOB")
        time.sleep(0.3)
        screen.key("k")
        screen.wait("end connection [0-9a-f]+")
        screen.key("y\n")
        assert p.access_one(timeout=10)["reason"] == "killed"
        screen.wait("ended")
        screen.key("q")
        assert screen.end() == 0
    finally:
        screen.leave()
        curl.kill()
        curl.wait()


def test_top_ends_when_the_instance_does(rx):
    p = rx("{ rx.any, to = rx.echo }")
    screen = Screen(BINARY, "top", env=Refractium.environment({"XDG_RUNTIME_DIR": p.directory, "TERM": "xterm"}))
    try:
        screen.wait("0 connections")
        p.stop()
        assert screen.end() == 3
        assert "the instance has gone" in screen.text
    finally:
        screen.leave()
