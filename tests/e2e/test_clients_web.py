# SPDX-License-Identifier: MIT
"""curl and openssl through one port to real web servers: nginx with TLS by SNI and ALPN, nghttpd, HTTP/1.1 and h2c."""
import hashlib
import os

import pytest

import peers
from harness import MIB, SCALE, free_port, run_client

pytestmark = pytest.mark.sanitize

NGINX = """worker_processes 1; master_process off; daemon off; pid {dir}/nginx.pid; error_log stderr warn; {user}
events {{ worker_connections 256; }}
http {{
  access_log off; client_max_body_size 1g; default_type text/plain;
  client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir};
  scgi_temp_path {dir};
  {servers}
}}
"""
TLS = "ssl_certificate %s; ssl_certificate_key %s; ssl_protocols TLSv1.2 TLSv1.3;"
SERVER = """server {{
  listen 127.0.0.1:{port} {options}; server_name _; root {root};
  {tls}
  location = /who {{ return 200 "{name} $server_protocol $ssl_server_name\\n"; }}
}}"""


@pytest.fixture
def nginx(run_server, workdir, certificate):
    """nginx(name={"tls": bool, "h2": bool}, …) starts one with these servers; returns their ports by name."""
    def start(**servers):
        folder = os.path.join(workdir, "nginx")
        os.makedirs(folder)
        ports, blocks = {}, []
        for name, how in servers.items():
            ports[name] = free_port()
            tls = TLS % certificate if how.get("tls") else ""
            options = ("ssl " if tls else "") + ("http2" if how.get("h2") else "")
            blocks.append(SERVER.format(port=ports[name], options=options, root=folder, tls=tls, name=name))
        path = os.path.join(folder, "nginx.conf")
        with open(path, "w") as f:
            f.write(NGINX.format(dir=folder, servers="\n".join(blocks), user="user root;" if os.geteuid() == 0 else ""))
        with open(os.path.join(folder, "big.bin"), "wb") as f:
            for block in peers.Stream(max(int(50 * MIB * SCALE), MIB)).blocks():
                f.write(block)
        program = run_server(["nginx", "-p", folder, "-c", path, "-e", "stderr"])
        for port in ports.values():
            program.wait_listening(port)
        return ports

    return start


@pytest.fixture
def curl(need, certificate):
    """curl(url, …): its standard output. Every name is this machine."""
    path = need("curl")

    def get(url, *args, check=True):
        done = run_client([path, "-sS", "-m", 60, "--noproxy", "*", "--cacert", certificate[0], *args, url], check=check)
        return done.stdout.decode("utf-8", "replace") if check else done

    return get


def here(name, port):
    return ["--resolve", "%s:%d:127.0.0.1" % (name, port)]


def test_curl_http_1_1_by_host(rx, nginx, curl):
    """Promise: HTTP/1.1 from curl to nginx by Host."""
    ports = nginx(one={}, two={})
    p = rx('{ rx.http, host = "one.test", to = "127.0.0.1:%(one)d" }, { rx.http, host = { "two.test", "*.two.test" },'
           'to = "127.0.0.1:%(two)d" }' % ports)
    for name, wants in (("one.test", "one"), ("TWO.test", "two"), ("x.two.test", "two")):
        said = curl("http://%s:%d/who" % (name, p.port), *here(name, p.port))
        assert said.startswith(wants + " HTTP/1.1"), said
    failed = curl("http://other.test:%d/who" % p.port, *here("other.test", p.port), check=False)
    assert failed.returncode in (52, 56)


def test_curl_keeps_a_connection_and_sends_bodies(rx, nginx, curl, workdir):
    """Promise: many requests on one connection, a download with its hash, an upload with Expect: 100-continue."""
    ports = nginx(one={})
    p = rx('{ rx.http, to = "127.0.0.1:%(one)d" }' % ports)
    base = "http://localhost:%d" % p.port
    said = curl(base + "/who", "-w", "%{num_connects}\\n", base + "/who", base + "/who")
    assert said.count("one HTTP/1.1") == 3
    out = os.path.join(workdir, "got.bin")
    curl(base + "/big.bin", "-o", out)
    with open(out, "rb") as got, open(os.path.join(workdir, "nginx", "big.bin"), "rb") as was:
        assert hashlib.sha256(got.read()).digest() == hashlib.sha256(was.read()).digest()
    done = curl(base + "/who", "-o", os.devnull, "-w", "%{http_code}", "-F", "f=@" + out, "-H", "Expect: 100-continue")
    assert done in ("200", "405")
    p.stop()
    assert {line["reason"] for line in p.access_lines()} <= {"done", "client_reset", "server_reset"}


def test_curl_http2_with_prior_knowledge_to_nghttpd(rx, run_server, curl, workdir):
    """Promise: h2c with prior knowledge is HTTP and reaches a real HTTP/2 server."""
    folder, port = os.path.join(workdir, "h2"), free_port()
    os.makedirs(folder)
    with open(os.path.join(folder, "hello.txt"), "w") as f:
        f.write("hello over h2c")
    run_server(["nghttpd", "--no-tls", "-a", "127.0.0.1", "-d", folder, port]).wait_listening(port)
    p = rx('{ rx.http, to = "127.0.0.1:%d" }' % port)
    said = curl("http://localhost:%d/hello.txt" % p.port, "--http2-prior-knowledge", "-w", "|%{http_version}")
    assert said == "hello over h2c|2"
    assert p.access_one()["protocol"] == "http"


def test_curl_http2_with_prior_knowledge_to_nginx(rx, nginx, curl):
    """Promise: the same with nginx."""
    ports = nginx(h2c={"h2": True})
    p = rx('{ rx.http, to = "127.0.0.1:%(h2c)d" }' % ports)
    assert curl("http://localhost:%d/who" % p.port, "--http2-prior-knowledge").startswith("h2c HTTP/2.0")


def test_curl_https_by_sni_to_two_servers(rx, nginx, curl):
    """Promise: TLS is routed by SNI without being opened; the client verifies the real server's certificate."""
    ports = nginx(alpha={"tls": True}, beta={"tls": True})
    p = rx('{ rx.tls, sni = "a.test", to = "127.0.0.1:%(alpha)d" }, { rx.tls, sni = { "b.test", "*.w.test" },'
           'to = "127.0.0.1:%(beta)d" }' % ports)
    for name, wants in (("a.test", "alpha"), ("b.test", "beta"), ("A.TEST", "alpha"), ("deep.w.test", "beta")):
        said = curl("https://%s:%d/who" % (name, p.port), *here(name, p.port))
        assert said.split() == [wants, "HTTP/1.1", name.lower()], said
    assert curl("https://c.test:%d/who" % p.port, *here("c.test", p.port), check=False).returncode == 35
    assert p.access(5)[-1]["reason"] == "no_route"


def test_curl_alpn_chooses_the_server(rx, nginx, curl):
    """Promise: ALPN h2 and http/1.1 may go to different servers."""
    ports = nginx(two={"tls": True, "h2": True}, one={"tls": True})
    p = rx('{ rx.tls, alpn = "h2", to = "127.0.0.1:%(two)d" }, { rx.tls, to = "127.0.0.1:%(one)d" }' % ports)
    url = "https://a.test:%d/who" % p.port
    assert curl(url, "--http2", *here("a.test", p.port)).startswith("two HTTP/2.0")
    assert curl(url, "--http1.1", *here("a.test", p.port)).startswith("one HTTP/1.1")
    assert curl(url, "--no-alpn", "--http1.1", *here("a.test", p.port)).startswith("one HTTP/1.1")


def test_one_port_for_all(rx, nginx, curl, backends):
    """Promise: plain HTTP, TLS and anything else on the same port at the same time."""
    ports = nginx(plain={}, secure={"tls": True})
    other = backends(peers.named("other"))
    p = rx('{ rx.http, to = "127.0.0.1:%(plain)d" }, { rx.tls, to = "127.0.0.1:%(secure)d" }' % ports,
           options="fallback_tcp = %s," % other.quoted)

    def plain():
        return curl("http://localhost:%d/who" % p.port)

    def secure():
        return curl("https://a.test:%d/who" % p.port, *here("a.test", p.port))

    def odd():
        with p.connect() as s:
            s.sendall(b"\xff\xff")
            return s.recv(100).decode()

    tasks = [peers.in_thread(f) for _ in range(4) for f in (plain, secure, odd)]
    said = [task.get() for task in tasks]
    assert [s.split()[0] for s in said] == ["plain", "secure", "other"] * 4


def test_openssl_s_client(rx, nginx, need, certificate):
    """Promise: openssl s_client completes TLS 1.3 and 1.2 handshakes through it, with and without a name."""
    ports = nginx(named={"tls": True}, plain={"tls": True})
    p = rx('{ rx.tls, sni = "a.test", to = "127.0.0.1:%(named)d" }, { rx.tls, to = "127.0.0.1:%(plain)d" }' % ports)
    openssl = need("openssl")
    for args, wants in ((["-servername", "a.test", "-tls1_3"], "named"), (["-servername", "a.test", "-tls1_2"], "named"),
                        (["-noservername", "-tls1_3"], "plain"), (["-servername", "zzz.test"], "plain")):
        done = run_client([openssl, "s_client", "-connect", "127.0.0.1:%d" % p.port, "-CAfile", certificate[0],
                           "-ign_eof", "-quiet", *args], input=b"GET /who HTTP/1.0\r\n\r\n", check=False)
        assert (wants + " HTTP/1.0").encode() in done.stdout, (args, done.stdout, done.stderr)
    done = run_client([openssl, "s_client", "-connect", "127.0.0.1:%d" % p.port, "-servername", "a.test", "-CAfile",
                       certificate[0], "-reconnect", "-tls1_2"])
    assert b"Verify return code: 0" in done.stdout
    assert done.stdout.count(b"Reused, TLSv1.2") >= 3


def test_curl_through_http_connect_and_websocket_upgrade(rx, backends, curl):
    """Promise: CONNECT and Upgrade are HTTP; what follows the answer is passed through unread."""
    def tunnel(sock, server):
        head = b""
        while b"\r\n\r\n" not in head:
            head += sock.recv(1000)
        server.seen.append(head)
        sock.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
        peers.http("inner")(sock, server)

    proxy = backends(tunnel)
    p = rx("{ rx.http, method = 'CONNECT', to = %s }" % proxy.quoted)
    said = curl("http://inner.test/", "--proxytunnel", "--noproxy", "", "-x", "http://127.0.0.1:%d" % p.port)
    assert said == "inner" and proxy.seen[0].startswith(b"CONNECT inner.test:80")
