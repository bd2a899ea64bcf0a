#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Many hours in a few minutes: real clients, edits, backends that come and go, scripts that fail; nothing may grow.

    RX_BIN=build/refractium /usr/bin/python3 tests/stress/soak.py [--minutes 30] [--out build/soak]

Clients that are installed take turns: curl (plain, TLS, large files), ssh, dig, ngtcp2 (QUIC), and sockets of our own for
bytes to compare. Meanwhile the config is edited every few seconds, a backend is killed and started again, and a
function of the config fails now and then. After a warm-up RSS and descriptors of the program are
fitted with a line: neither may rise. Leaves OUT/soak.json and OUT/soak.svg.
"""
import argparse
import contextlib
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tests", "e2e"))

import harness  # noqa: E402
import peers  # noqa: E402
import wire  # noqa: E402

WARM = 0.4  # of the time: the hooks' queues are 16 MB for each worker, of which each page is touched once
RISE_KB_PER_MINUTE, RISE_TOTAL_KB = 64, 2048  # a slope below the first is noise; a whole rise below the second, too
CONFIG = """local rx = require "refractium"
rx.server { workers = 2, access_log = "access.log", log_format = "json", metrics = "127.0.0.1:0", drain_timeout = "2s" }
local hits = rx.counter "hits_total" { labels = { "who" } }
local seen = rx.shared "seen" { max_entries = 1000 }
local bytes = rx.pool "bytes" { "127.0.0.1:%(flapping)d", "127.0.0.1:%(echo)d", health = { every = "200ms" }, eject_time = "100ms" }
rx.listen "127.0.0.1:%(port)d" { udp_idle_timeout = "2s", peek_timeout = "500ms",
  routes = {
    { rx.tls, sni = "web.test", to = "127.0.0.1:%(https)d" },
    { rx.http, host = "web.test", to = "127.0.0.1:%(http)d", when = function(conn)
        hits:inc(conn.host) seen:incr(conn.client.port, 1, 5)
        if conn.client.port %% 7 == 0 then error("unlucky") end
        return true end },
    { rx.http, host = "web.test", to = "127.0.0.1:%(http)d", on_data = function(conn, d, buf) end },
    { rx.http, to = rx.respond "HTTP/1.1 200 OK\\r\\nContent-Length: 2\\r\\nConnection: close\\r\\n\\r\\nok" },
    { rx.ssh, software = "x-bytes", to = bytes },
    { rx.ssh, to = "127.0.0.1:%(ssh)d" },
    { rx.dns, to = "127.0.0.1:%(dns)d" },
    { rx.quic, to = "127.0.0.1:%(quic)d" },
    { rx.any, transport = "udp", to = rx.echo },
  } }
-- edit %(edit)d
"""


class Servers:
    """What is installed of nginx, sshd, dnsmasq and an ngtcp2 server; and two byte servers."""

    def __init__(self, folder):
        self.folder, self.running, self.ports = folder, [], {}
        for name in ("https", "http", "ssh", "dns", "quic", "flapping"):
            self.ports[name] = harness.free_port()
        self.echo = peers.EchoProcess()
        self.ports["echo"] = self.echo.port
        self.flapping = None
        self.certificate()
        self.nginx()
        self.sshd()
        self.dnsmasq()
        self.quic()

    def start(self, argv):
        path = harness.find_program(argv[0])
        if not path:
            return None
        self.running.append(harness.Program([path, *map(str, argv[1:])], cwd=self.folder))
        return self.running[-1]

    def path(self, name, text=None):
        path = os.path.join(self.folder, name)
        if text is not None:
            with open(path, "w", encoding="utf-8") as f:
                f.write(text)
        return path

    def certificate(self):
        harness.run_client(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                            "-days", "2", "-subj", "/CN=web.test", "-keyout", self.path("key.pem"), "-out",
                            self.path("cert.pem")])

    def nginx(self):
        with open(self.path("large"), "wb") as f:
            for block in peers.Stream(8 << 20).blocks():
                f.write(block)
        self.start(["nginx", "-e", self.path("nginx.err"), "-p", self.folder, "-c", self.path("nginx.conf", """
daemon off; master_process off; pid nginx.pid; error_log nginx.err; events { worker_connections 2000; }
http { access_log off; client_body_temp_path t; proxy_temp_path t; fastcgi_temp_path t; uwsgi_temp_path t; scgi_temp_path t;
  server { listen 127.0.0.1:%(http)d; listen 127.0.0.1:%(https)d ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem;
    root .; location = / { return 200 "hello"; } location = /large { } } }
""" % self.ports)])

    def sshd(self):
        if not harness.find_program("sshd"):
            return
        harness.run_client(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path("host")])
        harness.run_client(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", self.path("user")])
        shutil.copy(self.path("user.pub"), self.path("authorized"))
        if os.geteuid() == 0:
            os.makedirs("/run/sshd", exist_ok=True)
        self.start(["sshd", "-D", "-e", "-f", self.path("sshd.conf", """
Port %d
ListenAddress 127.0.0.1
HostKey %s
AuthorizedKeysFile %s
StrictModes no
UsePAM no
PidFile none
MaxStartups 100
""" % (self.ports["ssh"], self.path("host"), self.path("authorized")))])

    def dnsmasq(self):
        self.start(["dnsmasq", "-k", "-C", self.path("none", ""), "-p", self.ports["dns"], "-a", "127.0.0.1", "--bind-interfaces",
                    "--no-resolv", "--no-hosts", "--pid-file=", "--user=root", "--address=/a.test/192.0.2.1"])

    def quic(self):
        for name in ("gtlsserver", "ngtcp2-server"):
            if harness.find_program(name):
                self.start([name, "-q", "127.0.0.1", self.ports["quic"], self.path("key.pem"), self.path("cert.pem"), "-d",
                            self.folder])
                return

    def flap(self):
        """The byte server that comes and goes."""
        if self.flapping:
            self.flapping.kill()
            self.flapping.wait()
            self.flapping.stdout.close()
            self.flapping = None
        else:
            code = peers._ECHO.replace('("127.0.0.1", 0)', '("127.0.0.1", %d)' % self.ports["flapping"]).replace(
                "s = socket.socket();", "s = socket.socket(); s.setsockopt(1, 2, 1);", 1)
            self.flapping = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stdin=subprocess.DEVNULL)

    def stop(self):
        if self.flapping:
            self.flap()
        for program in self.running:
            program.stop()
        self.echo.stop()


class Clients:
    """Each is called again and again; a count of how often it was served, and of how often not."""

    def __init__(self, servers, port):
        self.s, self.port, self.good, self.bad, self.why = servers, port, {}, {}, {}
        known = {"curl": self.curl, "curl_tls": self.curl_tls, "curl_large": self.curl_large, "ssh": self.ssh, "dig": self.dig,
                 "dig_tcp": self.dig_tcp, "quic": self.quic, "bytes": self.bytes, "abrupt": self.abrupt,
                 "datagrams": self.datagrams, "silent": self.silent}
        needs = {"curl": "curl", "curl_tls": "curl", "curl_large": "curl", "ssh": "sshd", "dig": "dig", "dig_tcp": "dig",
                 "quic": "gtlsclient"}
        self.known = {name: f for name, f in known.items() if not needs.get(name) or harness.find_program(needs[name])}

    def run(self, argv):
        done = subprocess.run([str(a) for a in argv], stdin=subprocess.DEVNULL, capture_output=True, timeout=30, check=False,
                              cwd=self.s.folder)
        assert done.returncode == 0, "%d: %s" % (done.returncode, done.stderr[-200:])
        return done.stdout

    def web(self, scheme, path):
        return self.run(["curl", "-sSk", "--max-time", 20, "--connect-to", "web.test:%d:127.0.0.1:%d" % (self.port, self.port),
                         "%s://web.test:%d%s" % (scheme, self.port, path)])

    def curl(self):
        assert self.web("http", "/") == b"hello"

    def curl_tls(self):
        assert self.web("https", "/") == b"hello"

    def curl_large(self):
        assert len(self.web("https", "/large")) == 8 << 20

    def ssh(self):
        out = self.run(["ssh", "-p", self.port, "-i", self.s.path("user"), "-o", "StrictHostKeyChecking=no", "-o",
                        "UserKnownHostsFile=/dev/null", "-o", "BatchMode=yes", "127.0.0.1", "echo there"])
        assert out == b"there\n", out

    def dig(self, *more):
        out = self.run(["dig", "+short", "+tries=1", "+time=5", *more, "@127.0.0.1", "-p", self.port, "a.test"])
        assert out == b"192.0.2.1\n", out

    def dig_tcp(self):
        self.dig("+tcp")

    def quic(self):
        self.run(["gtlsclient", "-q", "--exit-on-all-streams-close", "--timeout=5s", "127.0.0.1", self.port,
                  "https://web.test/cert.pem"])

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port), 20)

    def bytes(self):
        size = random.choice([0, 100, 70000, 1 << 20])
        first = b"SSH-2.0-x-bytes\r\n"
        with self.connect() as s:
            task = peers.in_thread(peers.receive_hash, s)
            s.sendall(first)
            peers.Stream(size).send(s)
            s.shutdown(socket.SHUT_WR)
            assert task.get(25)[0] == size + len(first)

    def abrupt(self):
        with self.connect() as s:
            s.sendall(random.choice([b"S", b"SSH-2.0-x-bytes\r\n" + bytes(30000), b"\xff", wire.hello("web.test")[:40]]))
            peers.reset(s)

    def silent(self):
        with self.connect() as s:
            assert peers.how_it_ends(s, 10)[0] in ("eof", "reset")

    def datagrams(self):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
            s.settimeout(5)
            s.connect(("127.0.0.1", self.port))
            for size in (1, 300, 1400):
                s.send(b"\xfe" * size)
                assert len(s.recv(2000)) == size

    def loop(self, is_on, seed):
        dice, names = random.Random(seed), list(self.known)
        while is_on():
            name = dice.choice(names)
            try:
                self.known[name]()
                self.good[name] = self.good.get(name, 0) + 1
            except (OSError, AssertionError, subprocess.TimeoutExpired) as e:
                self.bad[name] = self.bad.get(name, 0) + 1
                self.why[name] = str(e)[:200]


def slope(rows, column):
    """Rise per minute, by least squares."""
    n = len(rows)
    mx, my = sum(r[0] for r in rows) / n, sum(r[column] for r in rows) / n
    spread = sum((r[0] - mx) ** 2 for r in rows)
    return 60 * sum((r[0] - mx) * (r[column] - my) for r in rows) / spread if spread else 0


def plot(rows, path, warm):
    """RSS and descriptors over time."""
    width, height, end = 800, 160, rows[-1][0] or 1

    def panel(column, top, name, color):
        most = max(r[column] for r in rows) * 1.15 or 1
        points = " ".join("%.1f,%.1f" % (60 + (width - 80) * r[0] / end, top + height - height * r[column] / most) for r in rows)
        warm_x = 60 + (width - 80) * warm / end
        return ('<rect x="60" y="%d" width="%d" height="%d" fill="none" stroke="#ccc"/>'
                '<line x1="%.0f" y1="%d" x2="%.0f" y2="%d" stroke="#ccc" stroke-dasharray="4"/>'
                '<polyline points="%s" fill="none" stroke="%s" stroke-width="1.5"/>'
                '<text x="66" y="%d">%s, at most %d</text>' % (top, width - 80, height, warm_x, top, warm_x, top + height,
                                                               points, color, top + 16, name, max(r[column] for r in rows)))

    with open(path, "w", encoding="utf-8") as f:
        f.write('<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d 420" font-family="sans-serif" font-size="12">'
                '<rect width="100%%" height="100%%" fill="#fff"/>%s%s<text x="60" y="405">%.0f minutes</text></svg>\n' % (
                    width, panel(1, 20, "resident memory, KB", "#06c"), panel(2, 210, "descriptors", "#c60"), end / 60))


def soak(minutes, out, say=print):
    folder = tempfile.mkdtemp(prefix="rx-soak-")
    os.chmod(folder, 0o755)
    servers = Servers(folder)
    numbers = dict(servers.ports, port=harness.free_port(), edit=0)
    p = harness.Refractium(os.path.join(folder, "rx"), config=CONFIG % numbers, binds=2)
    begun, rows, wrong = time.monotonic(), [], []
    end = begun + 60 * minutes
    clients = Clients(servers, numbers["port"])
    threads = [threading.Thread(target=clients.loop, args=(lambda: time.monotonic() < end, n), daemon=True) for n in range(6)]
    for t in threads:
        t.start()
    try:
        step = 0
        while time.monotonic() < end:
            time.sleep(1)
            step += 1
            assert p.process.poll() is None, "it ended with %s\n%s" % (p.process.returncode, p.err.text()[-4000:])
            rows.append((time.monotonic() - begun, p.rss_bytes() // 1024, p.fds()))
            if step % 3 == 0:
                numbers["edit"] = step
                p.write_config(CONFIG % numbers if step % 15 else "this is no config")
            if step % 4 == 0:
                servers.flap()
            if step % 30 == 0:
                say("%4d s  %6d KB  %4d descriptors  %s served, %s not" % (rows[-1][0], rows[-1][1], rows[-1][2],
                                                                          sum(clients.good.values()), sum(clients.bad.values())))
        for t in threads:
            t.join(60)
        warm = 60 * minutes * WARM
        kept = [r for r in rows if r[0] > warm]
        rss, fds = slope(kept, 1), slope(kept, 2)
        rise = rss * (kept[-1][0] - kept[0][0]) / 60
        if rss > RISE_KB_PER_MINUTE and rise > RISE_TOTAL_KB:
            wrong.append("memory rises by %.0f KB a minute" % rss)
        if fds * (kept[-1][0] - kept[0][0]) / 60 > 8:
            wrong.append("descriptors rise by %.1f a minute" % fds)
        for name in clients.known:
            good, bad = clients.good.get(name, 0), clients.bad.get(name, 0)
            if not good or bad > 3 + good / 50: # a backend that is killed takes its connections with it
                wrong.append("%s: served %d times, %d times not: %s" % (name, good, bad, clients.why.get(name)))
        reloads = len([line for line in p.err.lines if "reload (" in line])
        report = {"minutes": minutes, "served": clients.good, "not_served": clients.bad, "why": clients.why,
                  "reloads": reloads, "rss_kb_per_minute": rss, "descriptors_per_minute": fds, "wrong": wrong, "rows": rows}
        os.makedirs(out, exist_ok=True)
        with open(os.path.join(out, "soak.json"), "w", encoding="utf-8") as f:
            json.dump(report, f)
        plot(rows, os.path.join(out, "soak.svg"), warm)
        if reloads < minutes: # the thread that loads gives way to those that serve
            wrong.append("only %d reloads" % reloads)
        with open(os.path.join(out, "stderr.log"), "w", encoding="utf-8") as f:
            f.write(p.err.text())
        p.signal(signal.SIGTERM)
        p.stop()
        p.check()
    finally:
        with contextlib.suppress(AssertionError):
            p.stop()
        servers.stop()
        shutil.rmtree(folder, ignore_errors=True)
    say("served %s\nnot served %s\n%d reloads; memory %+.0f KB, descriptors %+.2f a minute" % (
        clients.good, clients.bad, reloads, rss, fds))
    return wrong


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--out", default=os.path.join(ROOT, "build", "soak"))
    args = parser.parse_args()
    wrong = soak(args.minutes, args.out, lambda text: print(text, flush=True))
    print("\n".join("WRONG: " + w for w in wrong) or "nothing grew; see %s/soak.svg" % args.out)
    sys.exit(1 if wrong else 0)


if __name__ == "__main__":
    main()
