# SPDX-License-Identifier: MIT
"""The command line alone: -p, -b, -f, and how wrong flags are told."""
import os
import socket
import subprocess

import pytest

import peers
import wire
from harness import BINARY, free_port, run_binary, wait_for
from test_routing import ask

pytestmark = pytest.mark.sanitize


@pytest.fixture
def serve(rx):
    """serve("-f", …) runs on a free port of 127.0.0.1, one worker, without a config file."""
    def start(*args):
        return rx.flags(["-b", "127.0.0.1", "-p", free_port(), "-w", "1", *args])

    return start


def test_bind_and_port_are_obeyed_without_a_config(rx, backends):
    """Promise: -b and -p are where it listens; with -f and no -c no config file is needed or read."""
    port, web, sh = free_port(), backends(peers.named("web")), backends(peers.named("ssh"))
    p = rx.flags(["-b", "127.0.0.3", "-p", port, "-f", "http=" + web.address, "-f", "ssh=" + sh.address])
    assert p.addresses == ["127.0.0.3:%d" % port]
    assert ask(p, wire.get(), host="127.0.0.3") == "web"
    assert ask(p, wire.SSH, host="127.0.0.3") == "ssh"
    with pytest.raises(ConnectionRefusedError):
        p.connect(host="127.0.0.1")
    assert ask(p, wire.GARBAGE, host="127.0.0.3") == ""


def test_the_default_bind_is_every_address(rx, backends):
    """Promise: without -b it is 0.0.0.0."""
    web = backends(peers.named("web"))
    p = rx.flags(["--port", free_port(), "--forward", "http=" + web.address])
    assert ask(p, wire.get(), host="127.0.0.9") == "web"


def test_a_config_beside_is_not_read_with_forwards_alone(rx, backends, workdir):
    """Promise: as above: a broken refractium.lua in the folder does not matter."""
    web = backends(peers.named("web"))
    folder = os.path.join(workdir, "rx1")
    os.makedirs(folder)
    with open(os.path.join(folder, "refractium.lua"), "w") as f:
        f.write("this is no Lua")
    p = rx.flags(["-b", "127.0.0.1", "-p", free_port(), "-f", "http=" + web.address])
    assert ask(p, wire.get()) == "web"


def test_names_and_wildcards(serve, backends):
    """Promise: PROTO/NAME is SNI or Host, and may start with "*."."""
    a, w, h, rest = (backends(peers.named(n)) for n in ("a", "w", "h", "rest"))
    p = serve("-f", "tls/a.test=" + a.address, "-f", "https/*.w.test=" + w.address,
              "-f", "http/h.test=" + h.address, "-f", "any=" + rest.address)
    assert ask(p, wire.hello("A.test")) == "a"
    assert ask(p, wire.hello("x.y.w.test")) == "w"
    assert ask(p, wire.get("h.test")) == "h"
    for first in (wire.hello("w.test"), wire.hello(None), wire.get("other.test"), wire.SSH, wire.GARBAGE):
        assert ask(p, first) == "rest"


def test_several_targets_take_turns(serve, backends):
    """Promise: TARGET,TARGET is round robin, and the same PROTO/NAME again adds targets."""
    a, b, c = (backends(peers.named(n)) for n in "abc")
    p = serve("-f", "ssh=%s,%s" % (a.address, b.address), "-f", "ssh=" + c.address)
    answers = [ask(p, wire.SSH) for _ in range(9)]
    assert {answers.count(n) for n in "abc"} == {3}


def test_a_dead_target_is_skipped(serve, backends):
    """Promise: a connect failure tries the next target."""
    alive = backends(peers.named("alive"))
    p = serve("-f", "ssh=127.0.0.1:%d,%s" % (free_port(), alive.address))
    assert [ask(p, wire.SSH) for _ in range(4)] == ["alive"] * 4


def test_transport_prefix(serve, backends):
    """Promise: tcp: in front limits a rule to TCP."""
    a = backends(peers.named("a"))
    p = serve("-f", "tcp:ssh=" + a.address, "-f", "tcp:http/x.test=" + a.address)
    assert ask(p, wire.SSH) == "a" and ask(p, wire.get("x.test")) == "a"


def test_forwards_come_before_the_files_routes(rx, backends):
    """Promise: with -c and -f, -f routes come first, on every listener; the file's stay behind them."""
    flag, file_ = backends(peers.named("flag")), backends(peers.named("file"))
    p = rx("{ rx.ssh, to = %s }, { rx.http, to = %s }" % (file_.quoted, file_.quoted),
           args=["-f", "ssh=" + flag.address, "-f", "tls=" + flag.address],
           after='rx.listen "127.0.0.2:0" { routes = { { rx.ssh, to = %s } } }' % file_.quoted, binds=2)
    assert ask(p, wire.SSH) == "flag"
    assert ask(p, wire.get()) == "file"
    assert ask(p, wire.hello("x")) == "flag"
    assert ask(p, wire.SSH, host="127.0.0.2", port=p.ports[1]) == "flag"


def test_bind_and_port_override_the_files_only_listener(rx, backends):
    """Promise: -b/-p given explicitly override the file's only listener."""
    a, port = backends(peers.named("a")), free_port()
    p = rx("{ rx.ssh, to = %s }" % a.quoted, args=["-b", "127.0.0.5", "-p", port])
    assert p.addresses == ["127.0.0.5:%d" % port]
    assert ask(p, wire.SSH, host="127.0.0.5") == "a"
    p = rx("{ rx.ssh, to = %s }" % a.quoted, listen='"127.0.0.6:0"', args=["-p", free_port()])
    assert p.addresses == ["127.0.0.6:%d" % p.port]


def test_port_with_several_listeners_is_an_error(workdir):
    """Promise: with several listeners -p is an error that says so, exit 1, and nothing is bound."""
    with open(os.path.join(workdir, "two.lua"), "w") as f:
        f.write('local rx = require "refractium"\nlocal routes = { { rx.ssh, to = rx.drop } }\n'
                'rx.listen "127.0.0.1:0" { routes = routes }\nrx.listen "127.0.0.2:0" { routes = routes }\n')
    done = run_binary("-c", "two.lua", "-p", free_port(), cwd=workdir)
    assert done.returncode == 1
    assert "--port" in done.err and "2 listeners" in done.err
    assert "listening" not in done.err


def test_overrides(rx, backends):
    """Promise: --peek-timeout, --peek-buffer and --max-connections override the config's."""
    talk = backends(peers.greet(b"hi"))
    p = rx("{ rx.tls, sni = 'a.test', to = %s }, { rx.silent, to = %s }" % (talk.quoted, talk.quoted),
           options='peek_timeout = "30s",',
           args=["--peek-timeout", "150ms", "--peek-buffer", "1k", "--max-connections", "1"])
    with p.connect() as s:
        assert peers.read_exactly(s, 2) == b"hi"
        with pytest.raises((ConnectionError, AssertionError)):
            with p.connect() as second:
                peers.read_exactly(second, 2)
    p.access(1, where=lambda line: line["protocol"] == "silent" or line["reason"] == "done")
    with p.connect() as s:
        s.sendall(wire.hello("a.test", padding=3000, sni_last=True))
        assert peers.how_it_ends(s)[0] in ("eof", "reset")
    assert p.access(1, where=lambda line: line["reason"] == "tls_oversize")


@pytest.mark.parametrize("args,named", [
    (["-f", "http"], "-f"),
    (["-f", "http="], "-f"),
    (["-f", "=127.0.0.1:80"], "-f"),
    (["-f", "htpp=127.0.0.1:80"], "http"),
    (["-f", "http=127.0.0.1"], "-f"),
    (["-f", "http=127.0.0.1:80,"], "-f"),
    (["-f", "http=127.0.0.1:99999"], "-f"),
    (["-f", "http=[::1:80"], "-f"),
    (["-f", "http/=127.0.0.1:80"], "-f"),
    (["-f", "ssh/name=127.0.0.1:80"], "-f"),
    (["-f", "udp:ssh=127.0.0.1:80"], "-f"),
    (["-p", "0", "-f", "ssh=127.0.0.1:80"], "--port"),
    (["-p", "65536", "-f", "ssh=127.0.0.1:80"], "--port"),
    (["-p", "http", "-f", "ssh=127.0.0.1:80"], "--port"),
    (["-b", "no.such.name", "-f", "ssh=127.0.0.1:80"], "--bind"),
    (["-w", "0", "-f", "ssh=127.0.0.1:80"], "--workers"),
    (["-w", "many", "-f", "ssh=127.0.0.1:80"], "--workers"),
    (["--peek-timeout", "3", "-f", "ssh=127.0.0.1:80"], "--peek-timeout"),
    (["--peek-buffer", "1x", "-f", "ssh=127.0.0.1:80"], "--peek-buffer"),
    (["--max-connections", "0", "-f", "ssh=127.0.0.1:80"], "--max-connections"),
    (["--log-format", "xml", "-f", "ssh=127.0.0.1:80"], "--log-format"),
    (["--prt", "80"], "--port"),
    (["--bnid", "::"], "--bind"),
    (["-x"], "-x"),
    (["-p"], "-p"),
    (["--debug=1"], "--debug"),
    (["--json"], "--json"),
    (["strat"], "strat"),
    (["-c", "no-such-file.lua"], "no-such-file.lua"),
], ids=lambda v: " ".join(v) if isinstance(v, list) else "")
def test_a_wrong_flag_is_one_line_that_names_it(workdir, args, named):
    """Promise: bad flags: one line on stderr naming the flag, exit 1, nothing bound."""
    done = run_binary(*args, cwd=workdir)
    assert done.returncode == 1
    assert named in done.err
    assert len(done.err.strip().splitlines()) == 1, done.err
    assert done.out == ""


def test_without_config_and_flags_the_missing_file_is_named(workdir):
    """Promise: a missing refractium.lua is an error that says what to do, not a crash."""
    done = run_binary(cwd=workdir)
    assert done.returncode == 1 and "refractium.lua" in done.err


def test_a_taken_port_is_exit_2(workdir):
    """Promise: could not bind: exit 2, with the address and why."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_binary("-b", "127.0.0.1", "-p", port, "-f", "http=127.0.0.1:9", cwd=workdir)
    assert done.returncode == 2
    assert "127.0.0.1:%d" % port in done.err and "in use" in done.err


def test_a_start_that_fails_ends_nobody_else(workdir):
    """Promise: whoever is in its process group, the shell that started it first of all, goes on."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        line = '"$0" -b 127.0.0.1 -p %d -f http=127.0.0.1:9; echo "it ended with $?"' % taken.getsockname()[1]
        done = subprocess.run(["sh", "-c", line, BINARY], cwd=workdir, start_new_session=True, capture_output=True,
                              text=True, timeout=60, check=False)
    assert done.returncode == 0 and "it ended with 2" in done.stdout, done


def test_a_second_instance_does_not_share_the_port(rx, backends, workdir):
    """Promise: SO_REUSEPORT is for its own workers; a second instance is told that the address is taken."""
    p = rx.flags(["-b", "127.0.0.1", "-p", free_port(), "-f", "ssh=" + backends().address])
    done = run_binary("-b", "127.0.0.1", "-p", p.port, "-f", "ssh=127.0.0.1:9", cwd=workdir)
    assert done.returncode == 2


def test_an_address_of_no_interface_is_exit_2(workdir):
    """Promise: exit 2, and says that no interface has it."""
    done = run_binary("-b", "192.0.2.77", "-p", free_port(), "-f", "ssh=127.0.0.1:9", cwd=workdir)
    assert done.returncode == 2 and "192.0.2.77" in done.err


def test_help_and_version(workdir):
    """Promise: every command has --help; -V names the version; both exit 0 and write to stdout."""
    for command in ([], ["tcp"], ["udp"], ["init"], ["check"], ["explain"]):
        done = run_binary(*command, "--help", cwd=workdir)
        assert done.returncode == 0 and done.out.startswith("Usage: refractium") and not done.err
    done = run_binary("--version", cwd=workdir)
    assert done.returncode == 0 and done.out.startswith("refractium ")


def test_quiet_says_nothing_when_all_is_well(rx, backends):
    """Promise: -q: warnings and errors only."""
    port = free_port()
    p = rx.flags(["-q", "-b", "127.0.0.1", "-p", port, "--max-connections", "100", "-f", "ssh=" + backends().address],
                 is_up=False)

    def serves():
        try:
            with p.connect(port=port) as s:
                s.sendall(wire.SSH)
                return s.recv(100) == wire.SSH
        except ConnectionRefusedError:
            return False

    wait_for(serves, what="it to serve")
    p.stop()
    assert p.errors() == ""


def test_tcp_serves_tcp_only(rx, backends):
    """Promise: `tcp` runs that transport only."""
    a = backends(peers.named("a"))
    p = rx.flags(["tcp", "-b", "127.0.0.1", "-p", free_port(), "-f", "ssh=" + a.address])
    assert ask(p, wire.SSH) == "a"
