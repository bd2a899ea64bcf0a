# SPDX-License-Identifier: MIT
"""The proxies that are compared: how each is found, configured and started.

Fairness, as far as a configuration can give it: one worker or thread each, no access log anywhere, limits far above
the load, the same job (tell HTTP from TLS by the first bytes, route TLS by its server name) wherever the program can
do it, and half-closed connections kept open. nginx cannot tell HTTP; it gets a plain listener for those workloads.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path

SNI_SUFFIX = "example.test"
DEAD_BACKEND = "127.0.0.1:1"  # where a TLS connection goes whose name was not found: the run then shows errors


def capture(*command):
    """Standard output and error of a command, or "" when it cannot run."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=10,
                              check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout


def find_program(*names):
    path = os.environ.get("PATH", "") + ":/usr/local/sbin:/usr/sbin:/sbin"
    for name in names:
        found = shutil.which(name, path=path)
        if found:
            return found
    return None


class Site:
    """Where one instance of a proxy lives: its ports, its backend, a directory for its files, its limits."""

    def __init__(self, home, port, backend_port, n_files):
        self.home = Path(home)
        self.http_port = port
        self.tls_port = port + 1
        self.backend = f"127.0.0.1:{backend_port}"
        self.backend_port = backend_port
        self.n_files = n_files
        self.n_connections = max(256, min(30000, (n_files - 2000) // 2))

    def write(self, name, text):
        path = self.home / name
        path.write_text(text)
        return str(path)


class Peer:
    """One way to run one program. `command` writes what it needs below the site and returns the argument list."""

    name = ""
    about = ""
    idle_limit = None  # the program cannot hold more connections than this
    has_tls_port = False  # the TLS workload goes to a listener of its own

    def __init__(self, args):
        self.args = args
        self.program = self.find()

    def find(self):
        raise NotImplementedError

    def missing(self):
        """Why it cannot take part, or None."""
        return None if self.program else f"{self.name}: not installed"

    def version(self):
        raise NotImplementedError

    def command(self, site):
        raise NotImplementedError

    def ports(self, site):
        return [site.http_port, site.tls_port] if self.has_tls_port else [site.http_port]

    def target(self, site, is_tls):
        port = site.tls_port if is_tls and self.has_tls_port else site.http_port
        return f"127.0.0.1:{port}"


class Direct(Peer):
    name = "direct"
    about = "no proxy: the client straight at the backend"

    def find(self):
        return "none"

    def version(self):
        return ""

    def target(self, site, is_tls):
        return site.backend


class Refractium(Peer):
    name = "refractium"
    about = "one worker, a config with an SNI route and an HTTP route"
    options = ""  # of its routes

    def find(self):
        path = Path(self.args.refractium)
        return str(path) if os.access(path, os.X_OK) else None

    def missing(self):
        return None if self.program else f"{self.name}: no executable at {self.args.refractium} (make)"

    def version(self):
        return capture(self.program, "--version").strip().split("\n")[0]

    def command(self, site):
        config = site.write("refractium.lua", f'''\
local rx = require "refractium"
rx.server {{ workers = 1, max_connections = {site.n_connections} }}
rx.listen "127.0.0.1:{site.http_port}" {{
  routes = {{
    {{ rx.tls, sni = {{ "*.{SNI_SUFFIX}" }}, to = "{site.backend}"{self.options} }},
    {{ rx.http, to = "{site.backend}"{self.options} }},
  }},
}}
''')
        return [self.program, "-w", "1", "-c", config]


class RefractiumLatency(Refractium):
    name = "refractium-latency"
    about = 'the same with priority = "latency"'
    options = ', priority = "latency"'


class RefractiumThroughput(Refractium):
    name = "refractium-throughput"
    about = 'the same with priority = "throughput"'
    options = ', priority = "throughput"'


class RefractiumFlags(Refractium):
    name = "refractium-flags"
    about = "the same routes from the command line, no config file"

    def command(self, site):
        return [self.program, "-w", "1", "-b", "127.0.0.1", "-p", str(site.http_port),
                "--max-connections", str(site.n_connections),
                "-f", f"tls/*.{SNI_SUFFIX}={site.backend}", "-f", f"http={site.backend}"]


class Haproxy(Peer):
    name = "haproxy"
    about = "one thread, option splice-auto"
    splicing = ["splice-auto"]

    def find(self):
        return find_program("haproxy")

    def version(self):
        found = re.search(r"version (\S+)", capture(self.program, "-v"))
        return "HAProxy " + (found.group(1) if found else "?")

    def command(self, site):
        options = "\n".join(f"    option {name}" for name in self.splicing)
        config = site.write("haproxy.cfg", f'''\
global
    nbthread 1
    maxconn {site.n_connections}
    maxpipes 512
defaults
    mode tcp
    timeout connect 5s
    timeout client 120s
    timeout server 120s
{options}
frontend mux
    bind 127.0.0.1:{site.http_port} backlog 4096
    tcp-request inspect-delay 3s
    tcp-request content accept if HTTP
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    use_backend web if HTTP
    use_backend tls if {{ req.ssl_sni -m end .{SNI_SUFFIX} }}
backend web
    server s1 {site.backend}
backend tls
    server s1 {site.backend}
''')
        return [self.program, "-db", "-q", "-f", config]


class HaproxySplice(Haproxy):
    name = "haproxy-splice"
    about = "one thread, option splice-request and splice-response"
    splicing = ["splice-request", "splice-response"]


class Nginx(Peer):
    name = "nginx"
    about = "stream module, one worker, 64 KB buffers; ssl_preread for the TLS workload only"
    has_tls_port = True
    module_paths = ["/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules"]

    def find(self):
        program = find_program("nginx")
        self.build = capture(program, "-V") if program else ""
        self.module = next((f"{path}/ngx_stream_module.so" for path in self.module_paths
                            if os.path.exists(f"{path}/ngx_stream_module.so")), None)
        return program

    def missing(self):
        if self.program and not self.module and not re.search(r"--with-stream(\s|$)", self.build):
            return "nginx: installed without its stream module"
        return super().missing()

    def version(self):
        found = re.search(r"nginx/(\S+)", self.build)
        return "nginx " + (found.group(1) if found else "?")

    def command(self, site):
        numbers = tuple(int(n) for n in re.findall(r"\d+", self.version())[:3])
        # Without it nginx drops what the backend still has to say when the client has finished; off by default.
        half_close = "proxy_half_close on;" if numbers >= (1, 21, 4) else ""
        load = f"load_module {self.module};" if self.module else ""
        config = site.write("nginx.conf", f'''\
{load}
user root;
daemon off;
worker_processes 1;
worker_rlimit_nofile {site.n_files};
pid {site.home}/nginx.pid;
error_log {site.home}/nginx.log crit;
events {{ worker_connections {2 * site.n_connections}; multi_accept on; }}
stream {{
    access_log off;
    proxy_buffer_size 64k;
    {half_close}
    map $ssl_preread_server_name $by_name {{
        hostnames;
        *.{SNI_SUFFIX} backend;
        default nowhere;
    }}
    upstream backend {{ server {site.backend}; }}
    upstream nowhere {{ server {DEAD_BACKEND}; }}
    server {{
        listen 127.0.0.1:{site.http_port} backlog=4096;
        proxy_pass backend;
    }}
    server {{
        listen 127.0.0.1:{site.tls_port} backlog=4096;
        ssl_preread on;
        proxy_pass $by_name;
    }}
}}
''')
        return [self.program, "-p", str(site.home), "-c", config]


class Sslh(Peer):
    name = "sslh"
    about = "sslh-ev where it exists, otherwise sslh-select"

    def find(self):
        program = find_program("sslh-ev", "sslh-select")
        # select() cannot watch descriptors above 1023, two per connection.
        self.idle_limit = 400 if program and program.endswith("select") else None
        return program

    def version(self):
        lines = [line for line in capture(self.program, "-V").split("\n") if line.startswith("sslh")]
        number = re.search(r"\d+\.\d+\S*", lines[0]) if lines else None
        return f"{os.path.basename(self.program)} {number.group(0) if number else '?'}"

    def command(self, site):
        to = f'host: "127.0.0.1"; port: "{site.backend_port}"; log_level: 0;'
        config = site.write("sslh.cfg", f'''\
foreground: true;
inetd: false;
numeric: true;
transparent: false;
timeout: 3;
listen: ( {{ host: "127.0.0.1"; port: "{site.http_port}"; }} );
protocols: (
    {{ name: "tls"; {to} sni_hostnames: [ "*.{SNI_SUFFIX}" ]; }},
    {{ name: "http"; {to} }}
);
''')
        return [self.program, "-f", "-F" + config]


ALL = [Direct, Refractium, RefractiumFlags, RefractiumLatency, RefractiumThroughput, Haproxy, HaproxySplice, Nginx, Sslh]
DEFAULT = ["direct", "refractium", "haproxy", "haproxy-splice", "nginx", "sslh"]
