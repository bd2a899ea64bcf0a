# SPDX-License-Identifier: MIT
"""Real clients of other protocols to their real servers: Redis, PostgreSQL, DNS over TCP, SMTP, SOCKS, MQTT."""
import glob
import os
import pwd
import shutil
import subprocess
import sys
import tempfile

import pytest

import peers
from harness import free_port, run_client

pytestmark = pytest.mark.sanitize


# -- Redis

@pytest.fixture
def redis(run_server, workdir):
    port = free_port()
    run_server(["redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--dir", workdir]
               ).wait_listening(port)
    return port


def test_redis(rx, redis, need):
    """Promise: redis-cli to redis-server, one command and a pipe of thousands."""
    cli = need("redis-cli")
    p = rx('{ rx.redis, to = "127.0.0.1:%d" }' % redis)
    assert run_client([cli, "-p", p.port, "set", "k", "v w"]).stdout == b"OK\n"
    assert run_client([cli, "-p", p.port, "get", "k"]).stdout == b"v w\n"
    commands = b"".join(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$1\r\nx\r\n" % (len(key), key)
                        for key in (b"key%d" % n for n in range(5000)))
    done = run_client([cli, "-p", p.port, "--pipe"], input=commands)
    assert b"errors: 0, replies: 5000" in done.stdout
    assert {line["protocol"] for line in p.access(3)} == {"redis"}


# -- PostgreSQL

def postgres_bin():
    found = sorted(glob.glob("/usr/lib/postgresql/*/bin/initdb"))
    return os.path.dirname(found[-1]) if found else None


@pytest.fixture
def postgres(run_server):
    """(port, user) of a server with a fresh database; it refuses to run as root, so then it runs as postgres."""
    folder = postgres_bin()
    if not folder:
        pytest.skip("no PostgreSQL server is installed")
    data, port, user = tempfile.mkdtemp(prefix="rx-pg-"), free_port(), pwd.getpwuid(os.getuid()).pw_name
    become = []
    if os.geteuid() == 0:
        account = pwd.getpwnam("postgres")
        os.chown(data, account.pw_uid, account.pw_gid)
        become, user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups"], "postgres"
    run_client([*become, os.path.join(folder, "initdb"), "-D", data, "-A", "trust", "--no-sync", "-U", user], cwd="/")
    argv = [*become, os.path.join(folder, "postgres"), "-D", data, "-p", port, "-k", data, "-c", "fsync=off",
            "-c", "listen_addresses=127.0.0.1"]
    program = run_server(argv)
    program.out.wait("ready to accept connections")
    yield port, user
    program.stop()
    shutil.rmtree(data, ignore_errors=True)


def test_postgres(rx, postgres, need):
    """Promise: psql to PostgreSQL, with and without its request for TLS first."""
    port, user = postgres
    p = rx('{ rx.postgres, to = "127.0.0.1:%d" }' % port)
    for mode in ("disable", "prefer"):
        done = run_client([need("psql"), "-X", "-A", "-t", "host=127.0.0.1 port=%d user=%s dbname=postgres sslmode=%s"
                           % (p.port, user, mode), "-c", "select sum(n) from generate_series(1, 100000) n"], cwd="/")
        assert done.stdout.strip() == b"5000050000"
    assert {line["protocol"] for line in p.access(2)} == {"postgres"}


# -- DNS

@pytest.fixture
def dns(run_server):
    port = free_port()
    names = ["--address=/%s.test/192.0.2.%d" % (name, n) for n, name in enumerate(("one", "two"), 1)]
    run_server(["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--port=%d" % port, "--listen-address=127.0.0.1",
                "--bind-interfaces", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root" if os.geteuid() == 0 else
                "--log-facility=-", *names]).wait_listening(port)
    return port


def test_dns_over_tcp(rx, dns, need):
    """Promise: dig +tcp to a DNS server, one query and several on one connection, routed by name."""
    dig = need("dig")
    p = rx('{ rx.dns, qname = "two.test", to = rx.refuse }, { rx.dns, to = "127.0.0.1:%d" }' % dns)
    ask = [dig, "+tcp", "+short", "+time=5", "+tries=1", "@127.0.0.1", "-p", p.port]
    assert run_client([*ask, "one.test"]).stdout == b"192.0.2.1\n"
    assert run_client([*ask, "OnE.tEsT"]).stdout == b"192.0.2.1\n"
    assert run_client([*ask, "+keepopen", "one.test", "a.one.test"]).stdout == b"192.0.2.1\n192.0.2.1\n"
    assert run_client([*ask, "two.test"], check=False).returncode != 0
    assert p.access(1, where=lambda line: line["reason"] == "refused")


# -- SMTP: the server speaks first

def test_smtp_server_speaks_first(rx, run_server, need, workdir):
    """Promise: server-speaks-first protocols work: swaks delivers to a real SMTP server through rx.silent."""
    try:
        subprocess.run(["/usr/bin/python3", "-c", "import aiosmtpd"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("python3-aiosmtpd is not installed")
    swaks, port = need("swaks"), free_port()
    server = run_server(["/usr/bin/python3", "-u", "-m", "aiosmtpd", "-n", "-l", "127.0.0.1:%d" % port, "-c",
                         "aiosmtpd.handlers.Debugging", "stdout"]).wait_listening(port)
    p = rx('{ rx.http, to = "127.0.0.1:1" }, { rx.tls, to = "127.0.0.1:1" }, { rx.silent, to = "127.0.0.1:%d" }' % port,
           options='peek_timeout = "300ms",')
    run_client([swaks, "--server", "127.0.0.1:%d" % p.port, "--from", "a@one.test", "--to", "b@two.test",
                "--body", "through the multiplexer", "--silent", "2"])
    server.out.wait("through the multiplexer")
    assert p.access_one()["reason"] == "done"


def test_smtp_library_and_smtp_route(rx, run_server, backends):
    """Promise: a route on a server-first protocol takes clients that wait; Python's smtplib is one."""
    def smtp(sock, server):
        sock.sendall(b"220 here\r\n")
        for answer in (b"250 hi\r\n", b"221 bye\r\n"):
            server.seen.append(sock.recv(1000))
            sock.sendall(answer)

    p = rx('{ rx.ssh, to = "127.0.0.1:1" }, { rx.smtp, to = %s }' % backends(smtp).quoted,
           options='peek_timeout = "200ms",')
    code = "import smtplib; s = smtplib.SMTP('127.0.0.1', %d, timeout=10); print(s.helo()); s.quit()" % p.port
    assert b"250" in run_client([sys.executable, "-c", code]).stdout


# -- SOCKS

def test_socks5(rx, run_server, need, backends):
    """Promise: curl --socks5 through a real SOCKS server, by address and by name."""
    port, web = free_port(), backends(peers.http("behind socks"))
    run_server(["microsocks", "-i", "127.0.0.1", "-p", port]).wait_listening(port)
    p = rx('{ rx.socks5, to = "127.0.0.1:%d" }, { rx.http, to = "127.0.0.1:1" }' % port)
    for flag in ("--socks5", "--socks5-hostname"):
        done = run_client([need("curl"), "-sS", "-m", 20, "--noproxy", "", flag, "127.0.0.1:%d" % p.port,
                           "http://localhost:%d/" % web.port])
        assert done.stdout == b"behind socks"
    assert {line["protocol"] for line in p.access(2)} == {"socks5"}


# -- MQTT

@pytest.mark.parametrize("version", ["mqttv31", "mqttv311", "mqttv5"])
def test_mqtt(rx, run_server, need, workdir, version):
    """Promise: mosquitto_pub and mosquitto_sub to a mosquitto broker in every version."""
    port, pub, sub = free_port(), need("mosquitto_pub"), need("mosquitto_sub")
    path = os.path.join(workdir, "mosquitto.conf")
    with open(path, "w") as f:
        f.write("listener %d 127.0.0.1\nallow_anonymous true\npersistence false\n%s" % (
            port, "user root\n" if os.geteuid() == 0 else ""))
    run_server(["mosquitto", "-c", path]).wait_listening(port)
    p = rx('{ rx.mqtt, to = "127.0.0.1:%d" }' % port)
    run_client([pub, "-V", version, "-p", p.port, "-h", "127.0.0.1", "-t", "t/x", "-r", "-q", "1", "-m", "hello " + version])
    done = run_client([sub, "-V", version, "-p", p.port, "-h", "127.0.0.1", "-t", "t/#", "-C", "1", "-W", "10"])
    assert done.stdout == b"hello %s\n" % version.encode()
    assert {line["protocol"] for line in p.access(2)} == {"mqtt"}
