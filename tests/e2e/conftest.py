# SPDX-License-Identifier: MIT
"""Fixtures. Every process a test starts is ended by pid after it, and judged: exit code, sanitizers, leftovers."""
import contextlib
import os
import shutil
import subprocess
import tempfile

import pytest

import harness
import peers
from harness import BINARY, Program, Refractium, find_program, make_config, run_client


def pytest_sessionstart(session):
    if not os.access(BINARY, os.X_OK):
        pytest.exit("%s is not there: run make first, or set RX_BIN" % BINARY, 2)
    wanted = os.environ.get("RX_SANITIZER", "")
    if wanted and wanted != (harness.SANITIZER or "none"):
        pytest.exit("%s is built with %s, not with %s" % (BINARY, harness.SANITIZER or "no sanitizer", wanted), 2)
    harness.raise_nofile()


@pytest.fixture
def workdir():
    """A short path: unix sockets have room for 107 bytes."""
    path = tempfile.mkdtemp(prefix="rx-")
    os.chmod(path, 0o755)
    yield path
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture
def rx(workdir):
    """Starts the program under test: rx(routes, …) by config, rx.flags([...]) by flags, rx.config(text)."""
    started = []

    def begin(**how):
        instance = Refractium.__new__(Refractium)
        started.append(instance)
        instance.__init__(os.path.join(workdir, "rx%d" % len(started)), **how)
        return instance

    def by_routes(routes="", binds=1, preexec=None, args=(), before=(), is_up=True, **parts):
        return begin(config=make_config(routes, **parts), binds=binds, preexec=preexec, args=args, before=before, is_up=is_up)

    by_routes.config = lambda text, **how: begin(config=text, **how)
    by_routes.flags = lambda args, **how: begin(args=args, **how)
    yield by_routes
    problems = []
    for instance in started:
        if not hasattr(instance, "process"):
            continue
        try:
            instance.stop()
            instance.check()
        except AssertionError as e:
            problems.append(str(e))
    assert not problems, "\n".join(problems)


@pytest.fixture
def run_server(workdir):
    """Starts another program, to be ended after the test; skips the test where it is not installed."""
    running = []

    def start(argv, **popen):
        path = find_program(argv[0])
        if not path:
            pytest.skip("%s is not installed" % argv[0])
        running.append(Program([path, *map(str, argv[1:])], cwd=workdir, **popen))
        return running[-1]

    yield start
    for program in running:
        program.stop()


@pytest.fixture
def need():
    """Skips the test where a client program is not installed."""
    def look(name):
        return find_program(name) or pytest.skip("%s is not installed" % name)

    return look


@pytest.fixture
def backends():
    """Backends in this process: backends(handler, …) starts one; see peers.py for handlers."""
    with contextlib.ExitStack() as stack:
        def start(handler=peers.echo, **how):
            return stack.enter_context(peers.Server(handler, **how))

        yield start


@pytest.fixture
def echo_process():
    """An echo server in a process of its own, for crowds and bulk."""
    server = peers.EchoProcess()
    yield server
    server.stop()


@pytest.fixture(scope="session")
def certificate():
    """A key and a self-made certificate for a.test, b.test and *.w.test: (certificate path, key path)."""
    folder = tempfile.mkdtemp(prefix="rx-cert-")
    cert, key = os.path.join(folder, "cert.pem"), os.path.join(folder, "key.pem")
    run_client(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "2", "-subj", "/CN=a.test", "-addext",
                "subjectAltName=DNS:a.test,DNS:b.test,DNS:*.w.test,DNS:localhost,IP:127.0.0.1",
                "-keyout", key, "-out", cert])
    yield cert, key
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session", autouse=True)
def no_process_is_left_behind():
    """After the whole run no child of ours is alive."""
    yield
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True)
    left = [line for line in listed.stdout.splitlines() if "ps -o pid" not in line and "<defunct>" not in line]
    assert not left, left
