# SPDX-License-Identifier: MIT
"""Active health checks against real servers: who is found to be down, when, why, and that clients do not notice."""
import collections
import json
import os
import re
import signal
import socket
import threading
import time

import pytest

import peers
import wire
from harness import SANITIZER, free_port, make_config, run_binary, wait_for
from test_clients_services import postgres  # noqa: F401
from test_clients_ssh import ssh  # noqa: F401
from test_metrics import fetch
from test_names import Dns

pytestmark = pytest.mark.sanitize

FAST = 'every = "100ms", timeout = "%s", rise = 2, fall = 2' % ("300ms" if not SANITIZER else "2s")
ROUTE = "{ rx.any, to = app }"


def pool(targets, health, more="", timing=FAST):
    return 'local app = rx.pool "app" { %s, health = { %s, %s }, %s }' % (targets, health, timing, more)


def at(port):
    return '"127.0.0.1:%d"' % port


def status(p):
    def look():
        done = run_binary("status", "--json", "-p", str(p.port), env={"XDG_RUNTIME_DIR": p.directory})
        return json.loads(done.out) if done.returncode == 0 else None

    return wait_for(look, what="its admin socket")  # which comes after its listeners


def backends_of(p, name="app"):
    return {b["name"]: b for one in status(p)["pools"] if one["name"] == name for b in one["backends"]}


def wait_state(p, port, wanted):
    """Until the backend at that port is in that state; returns what status says of it."""
    name = at(port).strip('"')

    def look():
        b = backends_of(p)[name]
        return b if b["state"] == wanted else None

    return wait_for(look, what="%s to be %s\n%s" % (name, wanted, p.err.text()[-2000:]), pause=0.05)


def down_lines(p):
    return [line for line in p.err.lines if " is down: " in line]


def ask(p, first=b"hello\n"):
    try:
        with p.connect() as s:
            s.sendall(first)
            return s.recv(100).decode()
    except ConnectionResetError:
        return "reset"


def canned(answer, stay=False):
    """Answers whatever comes with these bytes."""
    def handler(sock, server):
        server.seen.append(sock.recv(1 << 16))
        sock.sendall(answer)
        if stay:
            server.closing.wait()

    return handler


# -- tcp

def test_who_refuses_is_down_until_it_accepts_again_and_it_is_said_once(rx, backends):
    """Promise: state changes are logged once, with why, counted, and seen in status; clients go where it is well."""
    alive, port = backends(peers.named("alive")), free_port()
    p = rx(ROUTE, prelude=pool(alive.quoted + ", " + at(port), 'check = "tcp"', "eject_after = 0"))
    b = wait_state(p, port, "down")
    assert b["health"]["why"] == "Connection refused" and b["health"]["downs"] == 1
    wait_state(p, alive.port, "up")
    assert {ask(p) for _ in range(8)} == {"alive"}
    assert backends_of(p)["127.0.0.1:%d" % port]["connects"] == 0
    time.sleep(0.5)
    assert len(down_lines(p)) == 1
    assert "pool app: 127.0.0.1:%d is down: Connection refused (1 of 1)" % port in down_lines(p)[0]
    back = backends(peers.named("back"), port=port)
    p.err.wait(r"pool app: 127\.0\.0\.1:%d is up \(2 of 2\)" % port)
    assert collections.Counter(ask(p) for _ in range(8)) == {"alive": 4, "back": 4}
    back.close()
    p.err.wait(r"127\.0\.0\.1:%d is down: Connection refused \(2 of 2\)" % port)
    assert {ask(p) for _ in range(6)} == {"alive"}
    shown = run_binary("status", "-p", str(p.port), env={"XDG_RUNTIME_DIR": p.directory}).out
    assert re.search(r"127\.0\.0\.1:%d .*, down: Connection refused" % port, shown), shown


def test_all_down_takes_the_fallback_and_without_one_resets(rx, backends):
    """Promise: as when nobody can be connected to, but without trying."""
    spare, port = backends(peers.named("spare")), free_port()
    p = rx('{ rx.ssh, to = app, fallback = %s }, %s' % (spare.quoted, ROUTE), prelude=pool(at(port), 'check = "tcp"'))
    wait_state(p, port, "down")
    assert ask(p, wire.SSH) == "spare" and ask(p) == "reset"
    assert backends_of(p)["127.0.0.1:%d" % port]["connects"] == 0


def test_who_swallows_packets_is_down_for_want_of_a_connection(rx, backends):
    """Promise: timeout bounds each look."""
    alive = backends(peers.named("alive"))
    with peers.BlackHole() as hole:
        p = rx(ROUTE, prelude=pool(alive.quoted + ", " + hole.quoted, 'check = "tcp"'))
        b = wait_state(p, int(hole.address.rsplit(":", 1)[1]), "down")
        assert re.match(r"no connection within \d+ ms", b["health"]["why"])
        began = time.monotonic()
        assert {ask(p) for _ in range(6)} == {"alive"} and time.monotonic() - began < 1


def test_another_port_and_a_unix_socket_can_be_asked(rx, backends, workdir):
    """Promise: port asks elsewhere; unix sockets are checked as addresses are."""
    quiet, teller = backends(peers.named("quiet")), backends(canned(b"OK"))
    local = backends(peers.named("local"), path=os.path.join(workdir, "a.sock"))
    p = rx(ROUTE, prelude=pool('%s, %s, "unix:%s/none.sock"' % (quiet.quoted, local.quoted, workdir),
                               'check = "tcp", port = %d, send = "?", expect = "OK"' % teller.port))
    wait_state(p, quiet.port, "up")
    assert not quiet.seen and b"?" in teller.seen
    states = wait_for(lambda: (lambda b: b if all(one["state"] == "down" for name, one in b.items()
                                                  if name.startswith("unix:")) else None)(backends_of(p)), what="unix")
    whys = {name.rsplit("/", 1)[1]: one["health"]["why"] for name, one in states.items() if name.startswith("unix:")}
    assert whys["none.sock"] == "No such file or directory" and "unexpected answer \"local\"" == whys["a.sock"]


def test_who_flaps_less_than_fall_stays_up_and_less_than_rise_stays_down(rx, backends):
    """Promise: rise and fall count results in a row."""
    turns = {"n": 0, "bad": {2, 3, 5, 6, 8, 9}}

    def flap(sock, server):
        turns["n"] += 1
        sock.recv(100)
        sock.sendall(b"bad" if turns["n"] in turns["bad"] else b"good")

    b = backends(flap)
    p = rx(ROUTE, prelude=pool(b.quoted, 'check = "tcp", send = "?", expect = "good"',
                               timing='every = "100ms", timeout = "3s", rise = 3, fall = 3'))
    wait_for(lambda: turns["n"] >= 11, what="eleven looks")
    assert not down_lines(p) and backends_of(p)[b.address]["state"] == "up"
    turns.update(n=0, bad={1, 2, 3, 6, 9, 10})  # then two good ones at a time
    wait_state(p, b.port, "down")
    wait_for(lambda: turns["n"] >= 11, what="eleven more")
    assert backends_of(p)[b.address]["state"] == "down"
    wait_state(p, b.port, "up")
    assert len(down_lines(p)) == 1


# -- http

NGINX = """worker_processes 1; master_process off; daemon off; pid {dir}/nginx.pid; error_log stderr crit; {user}
events {{ worker_connections 256; }}
http {{
  access_log {dir}/access.log; client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir};
  uwsgi_temp_path {dir}; scgi_temp_path {dir};
  server {{ listen 127.0.0.1:{port}; root {dir}; location = /healthz {{ try_files /well =503; }} }}
  server {{
    listen 127.0.0.1:{tls} ssl; ssl_certificate {cert}; ssl_certificate_key {key};
    location / {{ return 200 "$ssl_server_name"; }}
  }}
}}
"""


class Nginx:
    def __init__(self, run_server, folder, certificate):
        self.folder, self.port, self.tls = folder, free_port(), free_port()
        os.makedirs(folder)
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w") as f:
            f.write(NGINX.format(dir=folder, port=self.port, tls=self.tls, cert=certificate[0], key=certificate[1],
                                 user="user root;" if os.geteuid() == 0 else ""))
        self.be_well()
        self.start = lambda: run_server(["nginx", "-p", folder, "-c", path, "-e", "stderr"]).wait_listening(self.port)
        self.program = self.start()

    def be_well(self):
        with open(os.path.join(self.folder, "well"), "w") as f:
            f.write("all is well")

    def be_ill(self):
        os.unlink(os.path.join(self.folder, "well"))

    def requests(self):
        with open(os.path.join(self.folder, "access.log")) as f:
            return f.read()


@pytest.fixture
def nginx(run_server, workdir, certificate):
    return Nginx(run_server, os.path.join(workdir, "nginx"), certificate)


def test_http_asks_a_path_and_judges_the_status_and_the_body(rx, nginx):
    """Promise: a real nginx that answers 503 is down, and up again when it answers 200 with what is expected."""
    p = rx(ROUTE, prelude=pool(at(nginx.port), 'check = "http", path = "/healthz", host = "a.test", expect = "is well"'))
    wait_state(p, nginx.port, "up")
    nginx.be_ill()
    assert wait_state(p, nginx.port, "down")["health"]["why"] == "status 503, not 200-399"
    assert ask(p) == "reset"
    nginx.be_well()
    wait_state(p, nginx.port, "up")
    assert re.search(r'"GET /healthz HTTP/1\.1" 200 .*refractium/.* \(health check\)"', nginx.requests())


@pytest.mark.parametrize("answer, health, why", [
    (b"HTTP/1.1 204 No Content\r\n\r\n", 'check = "http", status = { 204, "300-399" }', None),
    (b"HTTP/1.1 200 OK\r\n\r\n", 'check = "http", status = { 204, "300-399" }', "status 200, not 204 or 300-399"),
    (b"HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n", 'check = "http", method = "HEAD"', None),
    (b"HTTP/1.1 200 OK\r\n\r\nstatus: fine", 'check = "http", expect = { "nope", "~f[io]ne" }', None),
    (b"HTTP/1.1 200 OK\r\nX: fine\r\n\r\nill", 'check = "http", expect = "fine"',
     "what is expected is not in the answer"),
    (b"SSH-2.0-x\r\n", 'check = "http"', 'no HTTP answer: "SSH-2.0-x\\x0d\\x0a"'),
    (b"HTTP/1.1 20", 'check = "http"', "the answer ends within its header"),
    (b"", 'check = "http"', "closed without an answer"),
    (b"+PONG\r\n", 'check = "tcp", send = "hex:50494e470d0a", expect = { "-ERR", "hex:2b 50 4f 4e 47" }', None),
    (b"-LOADING\r\n", 'check = "tcp", send = "PING\\r\\n", expect = "+PONG"',
     'unexpected answer "-LOADING\\x0d\\x0a"'),
])
def test_what_answers_mean(rx, backends, answer, health, why):
    """Promise: statuses, texts and bytes are judged as the config says, and why is told."""
    b = backends(canned(answer))
    p = rx(ROUTE, prelude=pool(b.quoted, health))
    got = wait_state(p, b.port, "down" if why else "up")
    assert got["health"]["why"] == why
    assert b.seen[0].startswith((b"GET / HTTP/1.1\r\nHost: " + b.address.encode() + b"\r\n", b"HEAD / ", b"PING\r\n"))


def test_who_accepts_and_never_answers_is_down(rx, backends):
    """Promise: also one that trickles: timeout is for the whole look."""
    mute = backends(peers.hold)

    def trickle(sock, server):
        for byte in b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1000:
            sock.sendall(bytes([byte]))
            if server.closing.wait(0.1):
                return

    slow = backends(trickle)
    p = rx(ROUTE, prelude=pool(mute.quoted + ", " + slow.quoted, 'check = "http", expect = "z"'))
    assert re.match(r"no answer within \d+ ms", wait_state(p, mute.port, "down")["health"]["why"])
    assert re.match(r"the answer ends within its header \(after \d+ ms\)",
                    wait_state(p, slow.port, "down")["health"]["why"])


@pytest.mark.parametrize("how, header", [("v1", b"PROXY UNKNOWN\r\n"),
                                         ("v2", b"\r\n\r\n\0\r\nQUIT\n")], ids=["v1", "v2"])
def test_backends_that_want_a_proxy_header_get_one_from_checks_too(rx, backends, how, header):
    """Promise: with send_proxy of the pool a check begins with a header that names no client."""
    b = backends(canned(b"HTTP/1.1 200 OK\r\n\r\n"))
    p = rx(ROUTE, prelude=pool(b.quoted, 'check = "http"', 'send_proxy = "%s"' % how))
    wait_state(p, b.port, "up")
    first = wait_for(lambda: b.seen and b.seen[0], what="a check")
    assert first.startswith(header)


def test_a_header_that_all_routes_to_a_pool_send_stands_before_checks_too(rx, backends):
    """But not where some clients come without one."""
    both, one = (backends(canned(b"HTTP/1.1 200 OK\r\n\r\n")) for _ in range(2))
    p = rx('''{ rx.http, host = "a", to = both, send_proxy = "v1" }, { rx.http, to = both, send_proxy = "v1" },
              { rx.ssh, to = one, send_proxy = "v1" }, { rx.smtp, to = one }''',
           prelude="".join("local %s = rx.pool '%s' { %s, health = { every = '100ms', check = 'http' } }\n" % (
               name, name, b.quoted) for name, b in (("both", both), ("one", one))))
    assert wait_for(lambda: both.seen, what="a check")[0].startswith(b"PROXY UNKNOWN\r\nGET /")
    assert wait_for(lambda: one.seen, what="a check")[0].startswith(b"GET /")
    assert not p.err.find("is down")


# -- tls

def test_tls_and_https_with_and_without_verifying(rx, nginx, certificate, run_server):
    """Promise: a handshake with SNI; verify wants a certificate that is good for the name."""
    other = free_port()
    run_server(["openssl", "s_server", "-quiet", "-accept", "127.0.0.1:%d" % other, "-cert", certificate[0], "-key",
                certificate[1]]).wait_listening(other)
    prelude = "\n".join('local %s = rx.pool "%s" { %s, health = { %s, %s } }' % (name, name, at(port), health, FAST)
                        for name, port, health in (
        ("plain", other, 'check = "tls"'), ("name", nginx.tls, 'check = "https", sni = "b.test", expect = "b.test"'),
        ("good", nginx.tls, 'check = "https", host = "a.test", verify = true'),
        ("wrong", nginx.tls, 'check = "tls", sni = "wrong.example", verify = true'),
        ("nobody", nginx.port, 'check = "tls"')))
    text = make_config("{ rx.any, to = plain }", prelude=prelude)
    p = rx.config(text, env={"SSL_CERT_FILE": certificate[0]})

    def of(name, state):
        return wait_for(lambda: next((b for b in backends_of(p, name).values() if b["state"] == state), None),
                        what="%s to be %s\n%s" % (name, state, p.err.text()[-2000:]))

    for name in ("plain", "name", "good"):
        assert of(name, "up")["health"]["why"] is None
    assert of("wrong", "down")["health"]["why"] == "certificate: hostname mismatch"
    assert of("nobody", "down")["health"]["why"].startswith("TLS handshake: ")
    q = rx.config(text)
    wait_for(lambda: any(b["state"] == "down" for b in backends_of(q, "good").values()), what="an unknown issuer")
    assert "self-signed certificate" in q.err.wait("pool good: .* is down: certificate: .*").group(0)


# -- servers that speak first or are asked

def test_redis_postgres_and_ssh_are_asked_in_their_own_words(rx, run_server, workdir, postgres, ssh):  # noqa: F811
    """Promise: send and expect are enough for real redis-server, PostgreSQL and sshd."""
    port = free_port()
    run_server(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", workdir]
               ).wait_listening(port)
    prelude = "\n".join('local %s = rx.pool "%s" { %s, health = { %s, %s } }' % (name, name, at(n), health, FAST)
                        for name, n, health in (
        ("redis", port, r'send = "PING\r\n", expect = "+PONG"'),
        ("postgres", postgres[0], 'send = "hex:0000000804d2162f", expect = { "S", "N" }'),
        ("ssh", ssh.port, 'expect = "SSH-2.0-"'), ("not_ssh", port, r'send = "PING\r\n", expect = "SSH-2.0-"')))
    p = rx("{ rx.any, to = redis }", prelude=prelude)
    for name, state in (("redis", "up"), ("postgres", "up"), ("ssh", "up"), ("not_ssh", "down")):
        wait_for(lambda: [b["state"] for b in backends_of(p, name).values()] == [state],
                 what="%s\n%s" % (name, p.err.text()[-2000:]))


QUERY = "hex:1234 0100 0001 0000 0000 0000 03 617070 04 74657374 00 0001 0001"  # app.test A
DNS = 'check = "udp", send = "%s", expect = "hex:1234 8580 0001 0001"' % QUERY
QUESTION = bytes.fromhex("abcd01000001000000000000" "03617070" "0474657374" "0000010001")


def udp_port(p):
    return int(p.err.wait(r"listening on 127\.0\.0\.1:(\d+) \(udp\)").group(1))


def resolve(p):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.settimeout(2)
        s.sendto(QUESTION, ("127.0.0.1", udp_port(p)))
        return s.recv(512)[-4:]


def test_udp_is_asked_over_udp_and_clients_go_to_who_answers(rx, run_server, workdir):
    """Promise: a real DNS server that stops is down for UDP clients, and another one serves."""
    one, two = Dns(run_server, workdir), Dns(run_server, workdir)
    two.hosts += "2"
    one.write({"app.test": ["10.0.0.1"]}), two.write({"app.test": ["10.0.0.2"]})
    one.start(), two.start()
    p = rx("{ rx.dns, to = app }", prelude=pool(at(one.port) + ", " + at(two.port), DNS))
    wait_state(p, one.port, "up"), wait_state(p, two.port, "up")
    assert {resolve(p) for _ in range(8)} == {b"\x0a\0\0\1", b"\x0a\0\0\2"}
    one.stop()
    assert wait_state(p, one.port, "down")["health"]["why"] == "Connection refused"
    assert {resolve(p) for _ in range(8)} == {b"\x0a\0\0\2"}


def test_a_check_over_tcp_says_nothing_about_udp_nor_the_other_way_round(rx, backends, run_server, workdir):
    """Promise: a UDP backend is never judged by TCP."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as only_udp:
        only_udp.bind(("127.0.0.1", 0))
        port = only_udp.getsockname()[1]
        p = rx("{ rx.dns, to = app }, " + ROUTE, prelude=pool(at(port), 'check = "tcp"'))
        wait_state(p, port, "down")
        assert ask(p) == "reset"
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
            client.sendto(QUESTION, ("127.0.0.1", udp_port(p)))
            only_udp.settimeout(5)
            data, peer = only_udp.recvfrom(512)
            assert data == QUESTION
    tcp = backends(peers.named("tcp"))
    q = rx(ROUTE, prelude=pool(tcp.quoted, DNS))
    wait_state(q, tcp.port, "down")
    assert ask(q) == "tcp"


# -- functions

def test_a_function_judges_answers_and_its_failures_judge_nobody(rx, backends):
    """Promise: true, false with a reason, rx.more; a function that fails leaves the state as it was."""
    def halves(sock, server):
        for part in (b"load ", b"99\n"):
            sock.sendall(part)
            time.sleep(0.02)
        server.closing.wait(0.2)

    busy, calm = backends(halves), backends(canned(b"load 2\n"))
    p = rx(ROUTE, prelude=pool(busy.quoted + ", " + calm.quoted, """send = "?", expect = function(buf)
        local line = buf:line()
        if not line then return rx.more end
        local load = tonumber(line:sub(6))
        if load > 50 then return false, "it is at " .. load end
        return true
      end"""))
    assert wait_state(p, busy.port, "down")["health"]["why"] == "it is at 99"
    wait_state(p, calm.port, "up")
    q = rx(ROUTE, prelude=pool(calm.quoted, 'send = "?", expect = function(buf) return nil + 1 end'))
    q.err.wait("could not be checked")
    assert backends_of(q)[calm.address]["state"] == "unknown"


# -- what is kept, and who is checked

def test_a_reload_keeps_what_is_known_and_asks_only_who_is_new(rx, backends):
    """Promise: an unchanged check and address keep their state; a changed check begins anew."""
    alive, port, fresh = backends(peers.named("alive")), free_port(), backends(canned(b"x"))

    def text(targets, health):
        return make_config(ROUTE, prelude=pool(targets, health, timing='every = "30s", fall = 1'))

    first = alive.quoted + ", " + at(port)
    p = rx.config(text(first, 'check = "tcp"'))
    wait_state(p, port, "down"), wait_state(p, alive.port, "up")
    for n, targets in ((2, first), (3, first + ", " + fresh.quoted)):
        p.write_config(text(targets, 'check = "tcp"') + "-- %d\n" % n)
        wait_for(lambda: status(p)["config"]["generation"] == n, what="generation %d" % n)
    wait_state(p, fresh.port, "up")
    now = backends_of(p)
    assert now["127.0.0.1:%d" % port]["state"] == "down" and now["127.0.0.1:%d" % port]["health"]["checks"] == 1
    assert now[alive.address]["health"]["checks"] == 1 and len(down_lines(p)) == 1
    p.write_config(text(first, 'check = "tcp", expect = "no greeting"'))
    wait_for(lambda: status(p)["config"]["generation"] == 4, what="generation 4")
    assert wait_state(p, port, "down")["health"]["downs"] == 1 and len(down_lines(p)) == 2
    p.write_config(make_config(ROUTE, prelude='local app = rx.pool "app" { %s }' % first))
    wait_for(lambda: status(p)["config"]["generation"] == 5, what="generation 5")
    assert "health" not in backends_of(p)[alive.address]
    seen = alive.n_accepted
    time.sleep(0.3)
    assert alive.n_accepted == seen


def test_the_addresses_of_a_name_are_checked_as_they_come_and_go(rx, run_server, workdir, backends):
    """Promise: what DNS adds is checked, what it takes away no longer."""
    dns = Dns(run_server, workdir)
    one = backends(peers.named("one"))
    two = backends(peers.named("two"), host="127.0.0.2", port=one.port)
    dns.write({"app.test": ["127.0.0.1", "127.0.0.3"]})
    dns.start()
    p = rx(ROUTE, server=dns.server, prelude=pool('"app.test:%d"' % one.port, 'check = "tcp"',
                                                  'ttl = { min = "1s", max = "2s" }'))
    p.err.wait(r"pool app: app\.test:%d \(127\.0\.0\.3:%d\) is down: Connection refused" % (one.port, one.port))
    assert {ask(p) for _ in range(4)} == {"one"}
    dns.change({"app.test": ["127.0.0.2"]})
    wait_for(lambda: {ask(p) for _ in range(4)} == {"two"}, what="the new address")
    wait_for(lambda: two.n_accepted > 12, what="its checks")
    time.sleep(0.2)
    seen = one.n_accepted
    time.sleep(0.4)
    assert one.n_accepted == seen


def test_drained_stays_drained_whatever_checks_find(rx, backends):
    """Promise: an operator's word counts beside the check's."""
    a, b = backends(peers.named("a")), backends(peers.named("b"))
    p = rx(ROUTE, prelude=pool(a.quoted + ", " + b.quoted, 'check = "tcp"'))
    wait_state(p, a.port, "up"), wait_state(p, b.port, "up")
    env = {"XDG_RUNTIME_DIR": p.directory}
    assert run_binary("drain", a.address, "-p", str(p.port), env=env).returncode == 0
    time.sleep(0.4)
    assert backends_of(p)[a.address]["state"] == "drained" and {ask(p) for _ in range(6)} == {"b"}
    assert run_binary("undrain", a.address, "-p", str(p.port), env=env).returncode == 0
    assert collections.Counter(ask(p) for _ in range(8)) == {"a": 4, "b": 4}


# -- under load

class Load(threading.Thread):
    """Asks redis-servers their port, one connection after the other; notes who answered, or that nobody did."""

    def __init__(self, p):
        super().__init__(daemon=True)
        self.p, self.is_over, self.answers = p, False, []
        self.start()

    def run(self):
        while not self.is_over:
            try:
                with self.p.connect() as s:
                    s.sendall(b"CONFIG GET port\r\n")
                    found = re.search(rb"\r\n(\d{4,5})\r\n$", s.recv(200))
                    answer = int(found.group(1)) if found else 0
            except OSError:
                answer = 0
            self.answers.append((time.monotonic(), answer))

    def between(self, begin, end):
        return collections.Counter(who for when, who in self.answers if begin <= when < end)

    def stop(self):
        self.is_over = True
        self.join(10)


def test_kill_and_restart_under_load_costs_no_client_once_it_is_down_and_weights_hold(rx, run_server, workdir):
    """Promise: redis-servers killed with -9: no error once marked down, shares within 2 % before and after."""
    ports = [free_port() for _ in range(3)]

    def start(port):
        return run_server(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", workdir]
                          ).wait_listening(port)

    servers = {port: start(port) for port in ports}
    targets = "%s, { %s, weight = 2 }, %s" % tuple(map(at, ports))
    p = rx(ROUTE, prelude=pool(targets, r'send = "PING\r\n", expect = "+PONG"'), workers=2)
    for port in ports:
        wait_state(p, port, "up")
    load = [Load(p) for _ in range(3)]
    pause = 1.5 if not SANITIZER else 4
    times = [time.monotonic()]
    time.sleep(pause)
    times.append(time.monotonic())
    victim = ports[1]
    os.kill(servers[victim].process.pid, signal.SIGKILL)
    wait_state(p, victim, "down")
    times.append(time.monotonic())
    time.sleep(pause)
    times.append(time.monotonic())
    start(victim)
    wait_state(p, victim, "up")
    times.append(time.monotonic())
    time.sleep(pause)
    times.append(time.monotonic())
    for one in load:
        one.stop()

    def shares(begin, end):
        total = sum((one.between(begin, end) for one in load), collections.Counter())
        n = sum(total.values())
        assert n > 100, total
        assert total[0] == 0, total
        return [total[port] / n for port in ports]

    for phase, wanted in ((0, (.25, .5, .25)), (2, (.5, 0, .5)), (4, (.25, .5, .25))):
        got = shares(times[phase], times[phase + 1])
        slack = 0.02
        assert all(abs(g - w) <= slack for g, w in zip(got, wanted)), (phase, got)


def test_metrics_show_checks(rx, backends):
    """Promise: refractium_backend_up and counts, for backends whose health is checked."""
    alive, port = backends(peers.named("alive")), free_port()
    p = rx(ROUTE, server='metrics = "127.0.0.1:0",', prelude=pool(alive.quoted + ", " + at(port), 'check = "tcp"'))
    wait_state(p, port, "down")
    text = fetch(p)[1]
    label = '{pool="app",backend="%s",address="%s"}'
    dead = "127.0.0.1:%d" % port
    assert "refractium_backend_up%s 0" % (label % (dead, dead)) in text
    assert "refractium_backend_up%s 1" % (label % (alive.address, alive.address)) in text
    assert "refractium_backend_downs_total%s 1" % (label % (dead, dead)) in text
    assert int(re.search(r"refractium_backend_checks_total\S+ (\d+)", text).group(1)) >= 1
