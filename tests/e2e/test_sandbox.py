# SPDX-License-Identifier: MIT
"""In its sandbox the program does all it does without: traffic, reloads, rotated logs, health checks, names; and what it
gave up is gone. chroot likewise."""
import os
import re
import signal
import subprocess

import pytest

import peers
import wire
from harness import BINARY, make_config, wait_for
from test_names import Dns

pytestmark = pytest.mark.skipif(
    "libseccomp" not in subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout,
    reason="built with WITH_SANDBOX=0, as sanitizer builds are")

STRICT = 'sandbox = "strict", '


def status_of(pid, task):
    with open("/proc/%d/task/%s/status" % (pid, task), encoding="ascii") as f:
        return dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))


def ask(p, path="/"):
    with p.connect() as s:
        s.sendall(wire.get(path=path) if path != "/" else wire.get())
        return s.recv(1000)


def test_every_thread_is_in_it_unless_the_config_says_no(rx):
    on = rx.config(make_config("{ rx.http, to = rx.respond 'hi' }", workers=2))
    wait_for(lambda: len(os.listdir("/proc/%d/task" % on.pid)) >= 3)
    for task in os.listdir("/proc/%d/task" % on.pid):
        said = status_of(on.pid, task)
        assert said["Seccomp"] == "2" and said["NoNewPrivs"] == "1"
    off = rx.config(make_config("{ rx.http, to = rx.respond 'hi' }", server="sandbox = false, "))
    before = status_of(os.getpid(), os.getpid())["Seccomp"]
    assert status_of(off.pid, off.pid)["Seccomp"] == before
    assert b"hi" in ask(on) and b"hi" in ask(off)


def test_strict_it_serves_reloads_rotates_checks_and_looks_up(rx, run_server, workdir, tmp_path):
    dns = Dns(run_server, workdir)
    dns.write({"app.test": ["127.0.0.1"]})
    dns.start()
    with peers.Server() as backend:
        pool = """local app = rx.pool "app" { "app.test:%d", ttl = { min = "1s", max = "2s" },
          health = { check = "tcp", every = "100ms", rise = 1 } }
        rx.include "more.lua" """ % backend.port
        how = {"server": STRICT + dns.server + ' log = "./messages.log",', "prelude": pool}
        directory = os.path.join(workdir, "rx1")
        os.makedirs(directory)
        more = os.path.join(directory, "more.lua")
        with open(more, "w", encoding="ascii") as f:
            f.write("local rx = require 'refractium'\n")
        p = rx.config(make_config("{ rx.http, to = rx.respond 'one' }, { rx.any, to = app }", **how), is_up=False)
        messages = os.path.join(directory, "messages.log")

        def said(pattern):
            with open(messages, encoding="utf-8") as f:
                return re.findall(pattern, f.read())

        wait_for(lambda: os.path.exists(messages) and said(r"listening on 127.0.0.1:(\d+)"))
        p.ports = [int(said(r"listening on 127.0.0.1:(\d+)")[0])]
        wait_for(lambda: said("app.test:%d is up" % backend.port) or "no check yet")
        with p.connect() as s:
            s.sendall(b"\0hello")
            assert s.recv(100) == b"\0hello"  # by a name, in one piece
        big = os.urandom(1 << 20)
        with p.connect() as s:
            sender = peers.in_thread(s.sendall, big)
            assert peers.read_exactly(s, len(big)) == big  # spliced
            sender.get()
        os.rename(p.log_path, p.log_path + ".1")
        os.rename(messages, messages + ".1")
        p.signal(signal.SIGUSR1)
        wait_for(lambda: os.path.exists(messages))
        p.write_config(make_config("{ rx.http, to = rx.respond 'two' }, { rx.any, to = app }", **how))
        wait_for(lambda: said("generation 2"))  # watched
        assert b"two" in ask(p)
        p.access(1)
        with open(more, "a", encoding="ascii") as f:
            f.write("rx.test 'a' { send = 'x', expect = { to = 'app' } }\n")
        wait_for(lambda: said("1 tests passed.*generation 3"))


def test_strict_an_edit_that_writes_elsewhere_is_told(rx, tmp_path):
    p = rx.config(make_config("{ rx.http, to = rx.respond 'hi' }", server=STRICT))
    p.write_config(make_config("{ rx.http, to = rx.respond 'hi' }", server=STRICT + 'record = { file = "%s/r" },' % tmp_path))
    p.err.wait("sandbox: nothing can be written in %s before the next start" % tmp_path)
    assert not os.path.exists(tmp_path / "r")
    p.write_config(make_config("{ rx.http, to = rx.respond 'hi' }", server="sandbox = false, "))
    p.err.wait("chroot and sandbox take effect at the next start")


def test_a_wrong_word_is_an_error(rx):
    p = rx.config(make_config("{ rx.http, to = rx.echo }", server="sandbox = 'tight', "), is_up=False)
    p.expected_code = 1
    p.process.wait(20)
    assert "must be true, false or" in p.errors()
    q = rx.config(make_config("{ rx.http, to = rx.echo }", server="chroot = '/', "), is_up=False)
    q.expected_code = 1
    q.process.wait(20)
    assert "chroot: needs user, too" in q.errors()


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the root needs root")
def test_chroot_serves_reloads_and_logs_inside(rx, workdir):
    def prepare():
        os.chmod(".", 0o777)
        os.mkdir("run", 0o777)
        os.chmod("run", 0o777)

    jail = os.path.join(workdir, "rx1")  # where its config lies, so that an edit is seen
    server = 'user = "nobody", chroot = "%s", admin = "/run/a.sock", ' % jail
    p = rx.config(make_config("{ rx.http, to = rx.respond 'one' }", server=server), preexec=prepare)
    assert b"one" in ask(p)
    assert os.readlink("/proc/%d/root" % p.pid) == jail
    done = subprocess.run([BINARY, "status", "--admin", jail + "/run/a.sock"], capture_output=True, timeout=20)
    assert done.returncode == 0
    p.access(1)
    p.write_config(make_config("{ rx.http, to = rx.respond 'two' }", server=server))
    p.err.wait(r"reload \(.*generation 2")
    assert b"two" in ask(p)


@pytest.mark.skipif(os.geteuid() != 0, reason="changing the root needs root")
def test_chroot_tells_what_is_not_there(rx, workdir):
    server = 'user = "nobody", chroot = "%s", admin = false, ' % workdir
    os.chmod(workdir, 0o777)
    p = rx.config(make_config("{ rx.http, to = rx.respond 'one' }", server=server))
    p.err.wait("cannot read refractium.lua in his root: reloads will be refused")
    assert b"one" in ask(p)
    q = rx.config(make_config("{ rx.http, to = rx.echo }", server=server.replace(workdir, workdir + "/nowhere")), is_up=False)
    q.expected_code = 2
    q.process.wait(20)
    assert "nowhere" in q.errors() and "No such file" in q.errors()
