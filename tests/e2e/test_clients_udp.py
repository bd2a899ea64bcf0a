# SPDX-License-Identifier: MIT
"""Real programs over UDP, all through one port: HTTP/3 by ngtcp2, WireGuard, OpenVPN, DNS."""
import contextlib
import hashlib
import os
import random
import re
import select
import socket
import subprocess
import sys

import pytest

import harness
from harness import Program, find_program, make_config, run_client, wait_for

pytestmark = pytest.mark.sanitize

TUNNELLED = int((4 if harness.SANITIZER else 20) * harness.MIB * harness.SCALE)

# Both ends of a transfer through a tunnel: the one that listens sends `n` bytes and takes as many; each says the SHA-256
# of what it got.
TRANSFER = """
import hashlib, random, socket, sys, threading
role, host, n = sys.argv[1], sys.argv[2], int(sys.argv[3])
if role == "listen":
    with socket.create_server((host, 7777)) as l:
        print("listening", flush=True)
        s = l.accept()[0]
else:
    s = socket.create_connection((host, 7777), 30)
s.settimeout(60)
said = random.Random(role).randbytes(n)
def send():
    s.sendall(said)
    s.shutdown(socket.SHUT_WR)
t = threading.Thread(target=send)
t.start()
heard = hashlib.sha256()
while True:
    data = s.recv(65536)
    if not data:
        break
    heard.update(data)
t.join()
print("heard", heard.hexdigest(), flush=True)
"""


def free_ports(count):
    """Free for UDP and TCP."""
    with contextlib.ExitStack() as stack:
        found = []
        while len(found) < count:
            s = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.bind(("127.0.0.1", 0))
            with contextlib.suppress(OSError):
                t = stack.enter_context(socket.socket())
                t.bind(s.getsockname())
                found.append(s.getsockname()[1])
        return found


def wait_bound(port):
    """Until somebody takes datagrams at 127.0.0.1:port."""
    def is_bound():
        with open("/proc/net/udp", encoding="ascii") as f:
            return any(line.split()[1] == "0100007F:%04X" % port for line in f)

    wait_for(is_bound, what="UDP port %d" % port)


class OnePort:
    """One UDP port in front of everything; what a test does not start just is not there."""

    def __init__(self, rx):
        self.number, self.quic_a, self.quic_b, self.wireguard, self.openvpn, self.dns = free_ports(6)
        self.rx = rx.config(make_config("""
          { rx.quic, sni = "a.test", to = "127.0.0.1:%d" }, { rx.quic, sni = "*.w.test", to = "127.0.0.1:%d" },
          { rx.wireguard, to = "127.0.0.1:%d" }, { rx.openvpn, to = "127.0.0.1:%d" }, { rx.dns, to = "127.0.0.1:%d" },
          """ % (self.quic_a, self.quic_b, self.wireguard, self.openvpn, self.dns),
            listen='"127.0.0.1:%d"' % self.number), binds=2)

    def protocols(self):
        self.rx.stop()
        return {line["protocol"] for line in self.rx.access(1)}


@pytest.fixture
def one_port(rx):
    return OnePort(rx)


@pytest.fixture
def dns(one_port, run_server):
    run_server(["dnsmasq", "--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--listen-address=127.0.0.1",
                "--bind-interfaces", "--port=%d" % one_port.dns, "--address=/a.test/192.0.2.7", "--pid-file=",
                "--dns-forward-max=10000", "--user=root" if os.geteuid() == 0 else "--log-facility=-"])

    def dig():
        return run_client([find_program("dig") or pytest.skip("dig is not installed"), "+time=1", "+tries=2",
                           "@127.0.0.1", "-p", one_port.number, "+short", "www.a.test"], check=False).stdout

    wait_for(lambda: dig() == b"192.0.2.7\n", what="an answer to dig")
    return dig


# -- DNS

def test_dnsperf_loses_no_query(one_port, dns, need, workdir):
    """Promise: thousands of queries a second of twenty clients are all answered."""
    dnsperf = need("dnsperf")
    path = os.path.join(workdir, "queries")
    with open(path, "w", encoding="ascii") as f:
        f.writelines("n%d.a.test A\n" % i for i in range(1000))
    rate = 300 if harness.SANITIZER else 3000
    out = run_client([dnsperf, "-s", "127.0.0.1", "-p", one_port.number, "-d", path, "-l", 2, "-c", 20, "-Q", rate,
                      "-t", 5]).stdout.decode()
    assert int(re.search(r"Queries completed: +(\d+)", out)[1]) > rate
    assert re.search(r"Queries lost: +0 ", out), out
    assert re.search(r"Response codes: +NOERROR \d+ \(100\.00%\)", out), out


# -- HTTP/3

@pytest.fixture
def http3(one_port, run_server, certificate, workdir):
    """Two ngtcp2 servers, a and b, with one file each, told apart by name."""
    files, servers = {}, {}
    for name, port in (("a", one_port.quic_a), ("b", one_port.quic_b)):
        root = os.path.join(workdir, name)
        os.mkdir(root)
        files[name] = random.Random(name).randbytes(TUNNELLED)
        with open(os.path.join(root, "big.bin"), "wb") as f:
            f.write(files[name])
        cert, key = certificate
        servers[name] = run_server(["gtlsserver", "--no-quic-dump", "-d", root, "127.0.0.1", port, key, cert])
        wait_bound(port)
    return files, servers


def gtlsclient(need, one_port, workdir, sni, *more):
    """It asks for the name of the host it is given: for this process alone, names lead here."""
    hosts = os.path.join(workdir, "hosts")
    with open(hosts, "w", encoding="ascii") as f:
        f.write("127.0.0.1 a.test x.w.test\n")
    if os.geteuid() != 0:
        pytest.skip("needs root, for a hosts file of its own")
    run_client(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/hosts && exec "$@"', hosts, need("gtlsclient"), "-q",
                "--exit-on-all-streams-close", *more, sni, one_port.number, "https://%s:%d/big.bin" % (sni, one_port.number)],
               timeout=120)


@pytest.mark.parametrize("version", ["v1", "v2draft"])
def test_http3_by_name(one_port, http3, need, workdir, version):
    """Promise: a name leads to its server, and the download is exact."""
    files, _ = http3
    for name, sni in (("a", "a.test"), ("b", "x.w.test")):
        folder = os.path.join(workdir, "got-" + name)
        os.mkdir(folder)
        gtlsclient(need, one_port, workdir, sni, "--download", folder, "--version=" + version)
        with open(os.path.join(folder, "big.bin"), "rb") as f:
            assert f.read() == files[name]
    assert one_port.protocols() == {"quic"}


def test_http3_upload(one_port, http3, need, workdir):
    """Promise: what a client uploads arrives exactly. The server prints what it got, in hexadecimal."""
    _, servers = http3
    body = random.Random(9).randbytes(300000)
    path = os.path.join(workdir, "body")
    with open(path, "wb") as f:
        f.write(body)
    gtlsclient(need, one_port, workdir, "a.test", "-m", "POST", "-d", path)
    dump = re.compile(r"[0-9a-f]{8}  ([0-9a-f ]{48}) ")
    heard = bytes.fromhex("".join(found[1] for line in servers["a"].out.lines if (found := dump.match(line))))
    assert heard == body


# -- tunnels

@pytest.fixture
def namespaces():
    """Two network namespaces to put the ends of a tunnel in."""
    if os.geteuid() != 0 or not find_program("ip") or not os.path.exists("/dev/net/tun"):
        pytest.skip("needs root, ip and /dev/net/tun")
    names = ["rx%d%s" % (os.getpid(), end) for end in "ab"]
    try:
        for name in names:
            if subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False).returncode:
                pytest.skip("network namespaces cannot be made here")
            run_client(["ip", "-n", name, "link", "set", "lo", "up"])
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def put_end(namespace, device, address):
    """The program keeps its UDP socket here; the device goes there."""
    run_client(["ip", "link", "set", device, "netns", namespace])
    run_client(["ip", "-n", namespace, "addr", "add", address + "/24", "dev", device])
    run_client(["ip", "-n", namespace, "link", "set", device, "mtu", "1380", "up"])


def transfer(namespaces, listen_at, size):
    """Both ways at once through the tunnel; from the first namespace to the second, which listens."""
    code = ["python3" if not sys.executable else sys.executable, "-c", TRANSFER]
    listener = Program(["ip", "netns", "exec", namespaces[1], *code, "listen", listen_at, str(size)])
    try:
        listener.out.wait("listening")
        done = run_client(["ip", "netns", "exec", namespaces[0], *code, "connect", listen_at, size], timeout=120)
        heard = listener.out.wait(r"heard (\w+)", 60)[1]
    finally:
        listener.stop()
    assert heard == hashlib.sha256(random.Random("connect").randbytes(size)).hexdigest()
    assert done.stdout.decode().split()[-1] == hashlib.sha256(random.Random("listen").randbytes(size)).hexdigest()


def wireguard_end(run_server, workdir, name, port, endpoint, keys, allowed):
    run_server(["wireguard-go", "-f", name])
    wait_for(lambda: run_client(["wg", "show", name], check=False).returncode == 0, what="wireguard-go")
    path = os.path.join(workdir, name + ".key")
    with open(path, "w", encoding="ascii") as f:
        f.write(keys[0])
    os.chmod(path, 0o600)
    run_client(["wg", "set", name, "listen-port", port, "private-key", path, "peer", keys[1], "allowed-ips", allowed,
                *(["endpoint", "127.0.0.1:%d" % endpoint] if endpoint else [])])


def test_wireguard_through_the_port_that_serves_dns(one_port, dns, namespaces, need, run_server, workdir):
    """Promise: a WireGuard tunnel comes up through the port and carries streams exactly, while dig is answered."""
    wg = need("wg")
    private = [run_client([wg, "genkey"]).stdout.decode().strip() for _ in "ab"]
    public = [run_client([wg, "pubkey"], input=key.encode()).stdout.decode().strip() for key in private]
    names = ["rxw%da" % (os.getpid() % 10**7), "rxw%db" % (os.getpid() % 10**7)]
    own_port = free_ports(1)[0]
    wireguard_end(run_server, workdir, names[0], own_port, one_port.number, (private[0], public[1]), "10.77.0.2/32")
    wireguard_end(run_server, workdir, names[1], one_port.wireguard, 0, (private[1], public[0]), "10.77.0.1/32")
    for i, name in enumerate(names):
        put_end(namespaces[i], name, "10.77.0.%d" % (i + 1))
    transfer(namespaces, "10.77.0.2", TUNNELLED)
    assert dns() == b"192.0.2.7\n"
    assert one_port.protocols() == {"wireguard", "dns"}


@pytest.fixture
def openvpn_files(certificate, workdir, need):
    key = os.path.join(workdir, "tls-crypt.key")
    run_client([need("openvpn"), "--genkey", "tls-crypt", key])
    cert, private = certificate
    return ["--ca", cert, "--cert", cert, "--key", private, "--tls-crypt", key]


def openvpn_end(run_server, device, files, *more):
    return run_server(["openvpn", "--dev", device, "--dev-type", "tun", "--ifconfig-noexec", "--proto", "udp", "--ifconfig",
                       "10.78.0.1", "10.78.0.2", "--data-ciphers", "AES-256-GCM", "--verb", "3", "--ping", "2", *files, *more])


def test_openvpn_with_tls_crypt(one_port, dns, openvpn_files, namespaces, run_server):
    """Promise: OpenVPN with tls-crypt and certificates comes up through the port and carries streams exactly."""
    names = ["rxo%da" % (os.getpid() % 10**7), "rxo%db" % (os.getpid() % 10**7)]
    ends = [openvpn_end(run_server, names[1], openvpn_files, "--tls-server", "--dh", "none", "--local", "127.0.0.1", "--port",
                        one_port.openvpn)]
    wait_for(lambda: os.path.exists("/sys/class/net/" + names[1]), what="the server's device")
    ends.append(openvpn_end(run_server, names[0], openvpn_files, "--tls-client", "--remote", "127.0.0.1", one_port.number,
                            "--nobind"))
    for end in ends:
        end.out.wait("Initialization Sequence Completed")
    for i, name in enumerate(names):
        put_end(namespaces[i], name, "10.78.0.%d" % (i + 1))
    transfer(namespaces, "10.78.0.2", TUNNELLED)
    assert dns() == b"192.0.2.7\n"
    assert one_port.protocols() == {"openvpn", "dns"}


# -- all of it

def test_a_scanner_among_them_harms_nobody(one_port, dns):
    """Promise: noise between real queries neither stops nor confuses them."""
    dice = random.Random(4)
    with contextlib.ExitStack() as stack:
        for _ in range(50):
            s = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            s.connect(("127.0.0.1", one_port.number))
            with contextlib.suppress(OSError):
                s.send(dice.randbytes(dice.randrange(1, 1400)))
            assert not select.select([s], [], [], 0)[0]
        assert dns() == b"192.0.2.7\n"
