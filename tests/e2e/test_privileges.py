# SPDX-License-Identifier: MIT
"""Started by root, it becomes somebody else, and keeps what it needs."""
import os
import pwd
import re
import signal
import socket
import stat
import subprocess

import pytest

import wire
from harness import BINARY, make_config, wait_for

pytestmark = [pytest.mark.sanitize, pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else needs root")]
NOBODY = pwd.getpwnam("nobody")
HTTP = '{ rx.http, to = rx.respond "hi" }'


def give_directory():
    os.chown(".", NOBODY.pw_uid, NOBODY.pw_gid)


def low_port():
    for port in range(1023, 600, -1):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    pytest.skip("no free port below 1024")


def status_of(pid, task=None):
    path = "/proc/%d/status" % pid if task is None else "/proc/%d/task/%s/status" % (pid, task)
    with open(path, encoding="ascii") as f:
        return dict(re.findall(r"^(\w+):\s*(.*)$", f.read(), re.M))


def ask(port):
    with socket.create_connection(("127.0.0.1", port), 5) as s:
        s.sendall(wire.get())
        return b"hi" in s.recv(1000)


def test_the_capability_over_the_network_is_kept_when_the_kernel_enforces_sessions(rx, tmp_path):
    p = rx.config(make_config(HTTP, server='user = "nobody",', prelude="""
local vpn = rx.sessions "test-%d" { enforce = { "kill" }, dport = { 1 } }
rx.tail "%s/access.log" { parse = rx.xray, sessions = vpn }""" % (os.getpid(), tmp_path)), preexec=give_directory)
    for task in os.listdir("/proc/%d/task" % p.pid):
        s = status_of(p.pid, task)
        assert int(s["CapEff"], 16) == int(s["CapPrm"], 16) == 1 << 10 | 1 << 12, "and CAP_NET_ADMIN"


@pytest.mark.parametrize("how", [{"routes": '{ rx.any, to = "127.0.0.1:9", transparent = true }'},
                                 {"routes": '{ rx.any, to = rx.pool "a" { "127.0.0.1:9", mark = 7 } }'},
                                 {"routes": HTTP, "options": "mark = 7,"}])
def test_the_capability_over_the_network_is_kept_for_what_needs_it(rx, how):
    """Listening with a mark, and connections to backends, would be refused (EPERM) without."""
    p = rx.config(make_config(server='user = "nobody",', **how), preexec=give_directory)
    s = status_of(p.pid)
    assert int(s["CapEff"], 16) == int(s["CapPrm"], 16) == 1 << 10 | 1 << 12


def test_every_thread_is_the_user_with_one_capability(rx):
    p = rx.config(make_config(HTTP, server='user = "nobody",', workers=2), preexec=give_directory)
    tasks = os.listdir("/proc/%d/task" % p.pid)
    assert len(tasks) >= 3
    for task in tasks:
        s = status_of(p.pid, task)
        assert s["Uid"].split() == [str(NOBODY.pw_uid)] * 4 and s["Gid"].split() == [str(NOBODY.pw_gid)] * 4, s
        assert s["Groups"].split() == [str(NOBODY.pw_gid)], "root's groups are left behind"
        assert int(s["CapEff"], 16) == int(s["CapPrm"], 16) == 1 << 10, "CAP_NET_BIND_SERVICE alone"
        assert s["NoNewPrivs"] == "1"
    assert os.stat(p.log_path).st_uid == NOBODY.pw_uid, "its files are its own"


def test_low_ports_can_be_had_at_start_and_by_a_later_edit(rx):
    first = low_port()
    text = make_config(HTTP, server='user = "nobody",', listen='"127.0.0.1:%d"' % first)
    p = rx.config(text, preexec=give_directory)
    assert ask(first)
    second = low_port()
    p.write_config(make_config(HTTP, server='user = "nobody",', listen='"127.0.0.1:%d", "127.0.0.1:%d"' % (first, second)))
    p.signal(signal.SIGHUP)
    p.err.wait(r"reload \(.*generation")
    assert ask(second)


def test_admin_socket_works_and_is_removed_at_the_end(rx):
    p = rx.config(make_config(HTTP, server='user = "nobody",'), preexec=give_directory)
    path = os.path.join(p.directory, "refractium", "%d.sock" % p.port)
    wait_for(lambda: os.path.exists(path), what="the admin socket")
    assert os.stat(path).st_uid == NOBODY.pw_uid and stat.S_IMODE(os.stat(path).st_mode) == 0o600
    done = subprocess.run([BINARY, "status", "--admin", path], capture_output=True, text=True, timeout=20)
    assert done.returncode == 0 and "listen" in done.stdout, done.stderr
    p.stop()
    assert not os.path.exists(path)


def test_group_by_itself_or_by_number(rx):
    p = rx.config(make_config(HTTP, server='user = "65534", group = "daemon",'), preexec=give_directory)
    assert status_of(p.pid)["Gid"].split()[0] == "1"
    assert status_of(p.pid)["Uid"].split()[0] == "65534"


def test_a_config_the_user_cannot_read_is_told_at_start(rx):
    def hide():
        give_directory()
        os.chmod("refractium.lua", 0o600)
    p = rx.config(make_config(HTTP, server='user = "nobody",'), preexec=hide)
    p.err.wait('cannot read refractium.lua: reloads will be refused')


@pytest.mark.parametrize("server, words, code", [
    ('user = "nosuchuser",', 'user "nosuchuser": there is no such user', 2),
    ('user = "nobody", group = "nosuchgroup",', 'group "nosuchgroup": there is no such group', 2),
    ('group = "daemon",', "group: needs user, too", 1),
])
def test_who_is_not_there_is_an_error(rx, server, words, code):
    p = rx.config(make_config(HTTP, server=server), is_up=False)
    p.expected_code = code
    p.process.wait(20)
    assert words in p.errors().replace('\\"', '"')


def test_who_is_not_root_cannot_become_another(rx):
    def be_nobody():
        give_directory()
        os.setgroups([])
        os.setresgid(*[NOBODY.pw_gid] * 3)
        os.setresuid(*[NOBODY.pw_uid] * 3)
    p = rx.config(make_config(HTTP, server='user = "daemon",'), preexec=be_nobody, is_up=False)
    p.expected_code = 2
    p.process.wait(20)
    p.err.wait("only root can become somebody else")
    same = rx.config(make_config(HTTP, server='user = "nobody",'), preexec=be_nobody)  # who it is already is fine
    assert ask(same.port)
