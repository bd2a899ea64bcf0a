# SPDX-License-Identifier: MIT
"""Names as targets: looked up by a real DNS server, kept fresh, and outlasting it."""
import collections
import os
import signal
import socket
import time

import pytest

import peers
import wire
from harness import free_port, make_config, run_binary, wait_for

pytestmark = pytest.mark.sanitize

FRESH = 'ttl = { min = "1s", max = "2s" }'


class Dns:
    """dnsmasq. Its addresses are a hosts file that is read again on SIGHUP; its SRV records are arguments."""

    def __init__(self, run_server, workdir):
        self.run_server, self.hosts = run_server, os.path.join(workdir, "hosts")
        self.port, self.program = free_port(), None
        self.write({})

    def write(self, names):
        with open(self.hosts, "w") as f:
            for name, addresses in names.items():
                for address in addresses:
                    f.write("%s %s\n" % (address, name))
        os.chmod(self.hosts, 0o644)

    def start(self, *records):
        self.program = self.run_server([
            "dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=%d" % self.port, "--listen-address=127.0.0.1",
            "--bind-interfaces", "--no-resolv", "--no-hosts", "--addn-hosts=" + self.hosts, "--local-ttl=1",
            "--local=/test/", "--pid-file=", "--user=root" if os.geteuid() == 0 else "--log-facility=-", *records])
        self.program.wait_listening(self.port)
        return self

    def change(self, names):
        self.write(names)
        self.program.process.send_signal(signal.SIGHUP)

    def stop(self):
        self.program.stop()

    @property
    def server(self):
        return 'resolver = "127.0.0.1:%d",' % self.port


@pytest.fixture
def dns(run_server, workdir):
    return Dns(run_server, workdir)


def ask(p):
    with p.connect() as s:
        s.sendall(wire.SSH)
        try:
            return s.recv(100).decode()
        except ConnectionResetError:
            return "reset"


def answers(p, count=8):
    return set(ask(p) for _ in range(count))


@pytest.fixture
def trio(backends):
    """The same port at three addresses, each of which says which it is."""
    first = backends(peers.named("one"))
    return first.port, [first, backends(peers.named("two"), host="127.0.0.2", port=first.port),
                        backends(peers.named("three"), host="127.0.0.3", port=first.port)]


def pool(inside):
    return 'local app = rx.pool "app" { %s, %s }' % (inside, FRESH)


ROUTE = "{ rx.ssh, to = app }"


def test_every_address_of_a_name_is_a_backend_and_changes_are_followed(rx, dns, trio):
    """Promise: names are looked up again when their TTL is over; connections made before stay where they are."""
    port, _ = trio
    dns.write({"app.test": ["127.0.0.1", "127.0.0.2"]})
    dns.start()
    p = rx(ROUTE, server=dns.server, prelude=pool('"app.test:%d"' % port))
    assert collections.Counter(ask(p) for _ in range(8)) == {"one": 4, "two": 4}
    with p.connect() as old:
        old.sendall(wire.SSH)
        assert old.recv(100) in (b"one", b"two")
        dns.change({"app.test": ["127.0.0.3"]})
        wait_for(lambda: answers(p) == {"three"}, what="the new address")
        old.sendall(b"still here")
        old.settimeout(0.3)
        with pytest.raises(socket.timeout):
            old.recv(1)  # neither ended nor moved
    dns.change({"app.test": ["127.0.0.2", "127.0.0.3", "127.0.0.1"]})
    wait_for(lambda: answers(p, 9) == {"one", "two", "three"}, what="three addresses")


def test_the_same_answer_in_another_order_is_no_change(rx, dns, trio):
    """Promise: a server that rotates its answers moves nothing."""
    port, _ = trio
    dns.write({"app.test": ["127.0.0.1", "127.0.0.2", "127.0.0.3"]})
    dns.start()
    p = rx(ROUTE, server=dns.server, prelude=pool('"app.test:%d", balance = "first"' % port))
    assert answers(p) == {"one"}
    time.sleep(3.5)  # several looks; dnsmasq rotates by itself
    assert answers(p) == {"one"}
    assert len([line for line in p.err.lines if "app.test" in line]) == 1


def test_the_last_good_answer_outlives_the_dns_server(rx, dns, trio):
    """Promise: when DNS fails, what it said last goes on; when it is back, what it says is followed."""
    port, _ = trio
    dns.write({"app.test": ["127.0.0.1"]})
    dns.start()
    p = rx(ROUTE, server=dns.server, prelude=pool('"app.test:%d"' % port))
    assert answers(p) == {"one"}
    dns.stop()
    wait_for(lambda: any("the last good answer stands" in line for line in p.err.lines), what="a failed look")
    assert answers(p) == {"one"}
    dns.write({"app.test": ["127.0.0.2"]})
    dns.start()
    wait_for(lambda: answers(p) == {"two"}, timeout=30, what="the new address")
    assert len([line for line in p.err.lines if "the last good answer stands" in line]) == 1


def test_an_answer_that_there_is_no_such_name_keeps_the_last_good_one(rx, dns, trio):
    """Promise: the same for NXDOMAIN."""
    port, _ = trio
    dns.write({"app.test": ["127.0.0.1"]})
    dns.start()
    p = rx(ROUTE, server=dns.server, prelude=pool('"app.test:%d"' % port))
    assert answers(p) == {"one"}
    dns.change({})
    wait_for(lambda: any("the last good answer stands" in line for line in p.err.lines), what="a failed look")
    assert answers(p) == {"one"}


def test_a_name_that_cannot_be_resolved_does_not_hold_up_the_start_and_heals(rx, dns, trio):
    """Promise: a config with a name that does not resolve starts, serves the rest, and heals when DNS answers."""
    port, (one, *_) = trio
    dns.write({"app.test": ["127.0.0.2"]})
    began = time.monotonic()  # nobody answers yet
    p = rx('{ rx.http, to = %s }, { rx.ssh, to = app, fallback = rx.respond "none" }' % one.quoted, server=dns.server,
           prelude=pool('"app.test:%d"' % port))
    with p.connect() as s:
        s.sendall(b"GET / HTTP/1.1\r\n\r\n")
        assert s.recv(100) == b"one"
    assert time.monotonic() - began < 4
    assert ask(p) == "none"
    dns.start()
    wait_for(lambda: ask(p) == "two", timeout=30, what="the name to heal")


def test_a_black_hole_of_a_dns_server_costs_a_start_two_seconds(rx, backends):
    """Promise: bounded, and said."""
    here = backends(peers.named("here"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as hole:
        hole.bind(("127.0.0.1", 0))
        began = time.monotonic()
        p = rx("{ rx.ssh, to = { \"app.test:1\", %s } }" % here.quoted,
               server='resolver = "127.0.0.1:%d",' % hole.getsockname()[1])
        assert ask(p) == "here"
        assert 1.5 < time.monotonic() - began < 5
    assert any("no answer within 2000 ms" in line for line in p.err.lines)


def test_a_reload_with_a_new_name_waits_for_it_while_the_old_config_serves(rx, dns, trio):
    """Promise: no connection is refused because a config that comes has names to look up."""
    port, (one, *_) = trio
    dns.write({"app.test": ["127.0.0.2"]})
    dns.start()
    listen = '"127.0.0.1:%d"' % free_port()
    p = rx("{ rx.ssh, to = %s }" % one.quoted, server=dns.server, listen=listen)
    assert ask(p) == "one"
    p.write_config(make_config('{ rx.ssh, to = "app.test:%d" }' % port, server=dns.server, listen=listen))
    seen = []
    wait_for(lambda: seen.append(ask(p)) or seen[-1] == "two", what="the new config", pause=0)
    assert set(seen) == {"one", "two"}


def test_srv_gives_ports_weights_and_tiers(rx, dns, backends, run_server):
    """Promise: srv:_service._tcp.name follows SRV: the lowest priority serves, by weight; the next when it is gone."""
    a, b, c = (backends(peers.named(name)) for name in "abc")
    dns.write({"host.test": ["127.0.0.1"]})
    dns.start("--srv-host=_app._tcp.test,host.test,%d,10,1" % a.port,
              "--srv-host=_app._tcp.test,host.test,%d,10,3" % b.port,
              "--srv-host=_app._tcp.test,host.test,%d,20,1" % c.port)
    p = rx(ROUTE, server=dns.server, prelude=pool('"srv:_app._tcp.test"'))
    assert collections.Counter(ask(p) for _ in range(16)) == {"a": 4, "b": 12}
    a.close()
    b.close()
    assert ask(p) == "c"
    assert p.access(17)[-1]["to"] == "host.test:%d" % c.port
    dns.stop()
    d = backends(peers.named("d"))
    dns.start("--srv-host=_app._tcp.test,host.test,%d,5,1" % d.port)
    wait_for(lambda: answers(p) == {"d"}, timeout=30, what="the new service")


def test_etc_hosts_is_honoured(rx, backends):
    """Promise: localhost is found without a DNS server."""
    here = backends(peers.named("here"))
    p = rx('{ rx.ssh, to = "localhost:%d" }' % here.port, server='resolver = "127.0.0.1:9",')
    assert ask(p) == "here"


def test_check_and_explain_look_nothing_up(rx, workdir):
    """Promise: check works without network, and shows the name."""
    path = os.path.join(workdir, "names.lua")
    with open(path, "w") as f:
        f.write('local rx = require "refractium"\n'
                'rx.listen "127.0.0.1:0" { routes = { { rx.ssh, to = { "app.invalid:22", "srv:_x._tcp.invalid" } } } }\n')
    began = time.monotonic()
    done = run_binary("check", "-c", path)
    assert done.returncode == 0 and b"app.invalid:22, srv:_x._tcp.invalid" in done.stdout
    done = run_binary("explain", "-c", path, stdin=wire.SSH)
    assert done.returncode == 0 and b"backend app.invalid:22" in done.stdout
    assert time.monotonic() - began < 3
