# SPDX-License-Identifier: MIT
"""The program under test, and real programs beside it: started on free ports, watched, ended by pid.

Refractium is the binary named by RX_BIN (build/refractium of this tree if unset); it may be a sanitizer build.
Program is any other server. Both collect what the process writes, so that a test can wait for a line of it, and both
are ended by the fixtures in conftest.py whatever the test did.
"""
import contextlib
import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BINARY = os.path.abspath(os.environ.get("RX_BIN", os.path.join(ROOT, "build", "refractium")))
CORPUS = os.path.join(ROOT, "tests", "corpus")
SCALE = float(os.environ.get("RX_SCALE", "1"))  # how large the large transfers and crowds are
MIB = 1 << 20

_SANITIZER_WORDS = ("ERROR: AddressSanitizer", "ERROR: LeakSanitizer", "WARNING: ThreadSanitizer",
                    "ThreadSanitizer:DEADLYSIGNAL", "AddressSanitizer:DEADLYSIGNAL", "runtime error:")


def _linked_sanitizer():
    if not os.path.exists(BINARY):
        return ""
    libs = subprocess.run(["ldd", BINARY], capture_output=True, text=True).stdout
    return "asan" if "libasan" in libs else "tsan" if "libtsan" in libs else ""


SANITIZER = _linked_sanitizer()
PATIENCE = 15 if not SANITIZER else 45  # seconds until a wait is a failure


def wait_for(condition, timeout=None, what="condition", pause=0.01):
    """Polls until condition() is true and returns its value."""
    end = time.monotonic() + (timeout or PATIENCE)
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise AssertionError("timed out waiting for " + what)
        time.sleep(pause)


def free_port(family=socket.AF_INET):
    """A TCP port nobody listens on now. Somebody might a moment later; port 0 is better where it can be had."""
    with socket.socket(family, socket.SOCK_STREAM) as s:
        s.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return s.getsockname()[1]


def free_port_range(count):
    """The first of `count` adjacent free ports."""
    for _ in range(200):
        low = free_port()
        if low + count > 65535:
            continue
        with contextlib.ExitStack() as stack:
            try:
                for port in range(low, low + count):
                    s = stack.enter_context(socket.socket())
                    s.bind(("127.0.0.1", port))
            except OSError:
                continue
        return low
    raise AssertionError("no free port range")


def find_program(name):
    """The path of a program, also where only root usually looks; None if it is not installed."""
    return shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin:/sbin")


class Reader(threading.Thread):
    """Collects the lines of a pipe; others may wait for one."""

    def __init__(self, pipe):
        super().__init__(daemon=True)
        self.pipe, self.lines, self.is_over = pipe, [], False
        self.changed = threading.Condition()
        self.start()

    def run(self):
        for raw in self.pipe:
            with self.changed:
                self.lines.append(raw.decode("utf-8", "backslashreplace").rstrip("\n"))
                self.changed.notify_all()
        with self.changed:
            self.is_over = True
            self.changed.notify_all()

    def close(self):
        """After the process has ended. Somebody who inherited the pipe may hold it open; then it is left to him."""
        self.join(3)
        if not self.is_alive():
            self.pipe.close()

    def find(self, pattern):
        for line in list(self.lines):
            found = re.search(pattern, line)
            if found:
                return found
        return None

    def wait(self, pattern, timeout=None):
        """The first match of `pattern` in any line, now or later."""
        end = time.monotonic() + (timeout or PATIENCE)
        with self.changed:
            while True:
                found = self.find(pattern)
                if found:
                    return found
                left = end - time.monotonic()
                if left <= 0 or self.is_over:
                    raise AssertionError("no line matches %r in:\n%s" % (pattern, self.text()))
                self.changed.wait(left)

    def text(self):
        return "\n".join(self.lines)


class Program:
    """Another program, running until the test is over."""

    def __init__(self, argv, **popen):
        popen.setdefault("stdin", subprocess.DEVNULL)
        popen.setdefault("start_new_session", True)  # its children can be ended with it, by their group
        self.argv = argv
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, **popen)
        self.out = Reader(self.process.stdout)

    def wait_listening(self, port, host="127.0.0.1", timeout=None):
        def try_connect():
            if self.process.poll() is not None:
                raise AssertionError("%s ended:\n%s" % (self.argv[0], self.out.text()))
            with contextlib.suppress(OSError), socket.create_connection((host, port), 1):
                return True
            return False

        wait_for(try_connect, timeout, "%s on port %d" % (self.argv[0], port), 0.02)
        return self

    def stop(self):
        for sig in (signal.SIGTERM, signal.SIGKILL):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.process.pid, sig)
            try:
                self.process.wait(3)
                break
            except subprocess.TimeoutExpired:
                continue
        self.out.close()


def lua_string(text):
    """A Lua literal for any bytes."""
    data = text.encode() if isinstance(text, str) else bytes(text)
    return '"' + "".join(chr(b) if 32 <= b < 127 and b not in b'"\\' else "\\%03d" % b for b in data) + '"'


def make_config(routes="", listen='"127.0.0.1:0"', options="", server="", prelude="", after="", workers=1):
    """A config whose access log is JSON in access.log beside it."""
    return """local rx = require "refractium"
rx.server {{ workers = {workers}, access_log = "access.log", log_format = "json", {server} }}
{prelude}
rx.listen {{ {listen} }} {{ {options} routes = {{ {routes} }} }}
{after}
""".format(**locals())


class Refractium:
    """The program under test, in a directory of its own."""

    def __init__(self, directory, args=(), config=None, preexec=None, env=None, binds=1, is_up=True, binary=BINARY,
                 pass_fds=(), before=()):
        self.directory = str(directory)
        os.makedirs(self.directory, exist_ok=True)
        self.log_path = os.path.join(self.directory, "access.log")
        argv = [*before, binary, *map(str, args)]  # before: what becomes the program, as a service manager does
        if config is not None:
            self.write_config(config)
            argv += ["-c", "refractium.lua"]
        self.is_stopped, self.expected_code = False, 0
        env = {"XDG_RUNTIME_DIR": self.directory, **(env or {})}  # its admin socket is its own
        self.process = subprocess.Popen(argv, cwd=self.directory, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, preexec_fn=preexec, env=self.environment(env),
                                        pass_fds=pass_fds)
        self.out, self.err = Reader(self.process.stdout), Reader(self.process.stderr)
        self.ports, self.addresses = [], []
        if is_up:
            self.wait_up(binds)

    @staticmethod
    def environment(more=None):
        env = dict(os.environ, LC_ALL="C.UTF-8", TZ="UTC")
        env.setdefault("ASAN_OPTIONS", "detect_leaks=1:abort_on_error=0:exitcode=99:quarantine_size_mb=32")
        env.setdefault("UBSAN_OPTIONS", "print_stacktrace=1")
        env.setdefault("TSAN_OPTIONS", "exitcode=98:second_deadlock_stack=1")
        env.update(more or {})
        return env

    def write_config(self, text):
        with open(os.path.join(self.directory, "refractium.lua"), "w", encoding="utf-8") as f:
            f.write(text)

    @property
    def pid(self):
        return self.process.pid

    @property
    def port(self):
        return self.ports[0]

    def wait_up(self, binds):
        """Waits until `binds` addresses are said to be listened on, and remembers them."""
        def listening():
            if self.process.poll() is not None:
                self.is_stopped = True
                time.sleep(0.05)
                raise AssertionError("refractium ended with %s:\n%s" % (self.process.returncode, self.err.text()))
            # Under log_format = "json" quotes surround the message; an address has none.
            found = [re.search(r'listening on ([^\s"]+)', line) for line in list(self.err.lines)]
            return [f.group(1) for f in found if f]

        wait_for(lambda: len(listening()) >= binds, what="refractium to listen")
        self.addresses = listening()
        self.ports = [int(a.rsplit(":", 1)[1]) for a in self.addresses if not a.startswith("unix:")]

    # -- what it wrote

    def access(self, count=1, timeout=None, where=lambda line: True):
        """The access lines that `where` holds for, once there are `count` of them."""
        def enough():
            lines = [line for line in self.access_lines() if where(line)]
            return lines if len(lines) >= count else None

        return wait_for(enough, timeout or PATIENCE / 3, "%d access lines; there are:\n%s\n%s" % (
            count, self.access_text(), self.err.text()[-3000:]))

    def access_one(self, timeout=None, where=lambda line: True):
        """The only access line there is."""
        lines = self.access(1, timeout, where)
        assert len(lines) == 1, lines
        return lines[0]

    def access_text(self):
        try:
            with open(self.log_path, "rb") as f:
                return f.read().decode("utf-8", "backslashreplace")
        except FileNotFoundError:
            return ""

    def access_lines(self):
        text = self.access_text()
        return [json.loads(line) for line in text[:text.rfind("\n") + 1].splitlines()]

    def errors(self):
        return self.err.text()

    # -- what it costs

    def cpu_seconds(self):
        with open("/proc/%d/stat" % self.pid, encoding="ascii") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cpu_exact(self):
        """Seconds of CPU by all its threads, to the nanosecond (schedstat counts no finished thread)."""
        total = 0
        for task in os.listdir("/proc/%d/task" % self.pid):
            with contextlib.suppress(OSError), open("/proc/%d/task/%s/schedstat" % (self.pid, task)) as f:
                total += int(f.read().split()[0])
        return total / 1e9

    def rss_bytes(self):
        with open("/proc/%d/status" % self.pid, encoding="ascii") as f:
            return int(re.search(r"VmRSS:\s+(\d+) kB", f.read()).group(1)) * 1024

    def fds(self):
        return len(os.listdir("/proc/%d/fd" % self.pid))

    # -- talking to it

    def connect(self, timeout=10, port=None, host="127.0.0.1", source=None):
        return socket.create_connection((host, port or self.port), timeout, source_address=source)

    def signal(self, sig):
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, sig)

    def stop(self, timeout=None):
        """SIGTERM, a second one if clients of a failed test keep it waiting. Returns the exit code."""
        if self.is_stopped:
            return self.process.returncode
        self.signal(signal.SIGTERM)
        try:
            self.process.wait(2)
        except subprocess.TimeoutExpired:
            self.signal(signal.SIGTERM)
        return self.wait_exit(timeout)

    def wait_exit(self, timeout=None):
        try:
            self.process.wait(timeout or PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError("refractium did not end:\n" + self.err.text()[-3000:]) from None
        finally:
            self.is_stopped = True
            self.out.close()
            self.err.close()
        return self.process.returncode

    def check(self):
        """After a test: it ended as it should, and no sanitizer had anything to say."""
        text = self.err.text() + self.out.text()
        for word in _SANITIZER_WORDS:
            assert word not in text, text[-12000:]
        assert self.process.returncode == self.expected_code, "exit code %s:\n%s" % (
            self.process.returncode, text[-4000:])


class Successor:
    """The process that took the place of one we started; ours by PR_SET_CHILD_SUBREAPER. As subprocess.Popen."""

    def __init__(self, pid):
        self.pid, self.returncode = pid, None

    def poll(self):
        if self.returncode is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.returncode = os.waitstatus_to_exitcode(status)
        return self.returncode

    def wait(self, timeout=None):
        end = time.monotonic() + (timeout or PATIENCE)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("refractium", timeout)
            time.sleep(0.005)
        return self.returncode

    def kill(self):
        os.kill(self.pid, signal.SIGKILL)


def run_binary(*args, cwd=None, stdin=b"", timeout=None, env=None):
    """One run of the binary that ends by itself: check, explain, init, wrong flags."""
    done = subprocess.run([BINARY, *map(str, args)], cwd=cwd, input=stdin, capture_output=True,
                          timeout=timeout or PATIENCE, env=Refractium.environment(env))
    done.out, done.err = done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace")
    for word in _SANITIZER_WORDS:
        assert word not in done.err + done.out, done.err[-8000:]
    return done


def run_client(argv, timeout=None, check=True, **more):
    """A client program that ends by itself."""
    more.setdefault("stdin", subprocess.DEVNULL) if "input" not in more else None
    done = subprocess.run(list(map(str, argv)), capture_output=True, timeout=timeout or PATIENCE * 2, **more)
    if check:
        assert done.returncode == 0, "%s ended with %d\n%s\n%s" % (
            argv[0], done.returncode, done.stdout.decode("utf-8", "replace"), done.stderr.decode("utf-8", "replace"))
    return done


def raise_nofile(want=20000):
    """This process may open many sockets, too. Returns the limit."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    target = want if hard == resource.RLIM_INFINITY else min(want, hard)
    if soft < target:
        resource.setrlimit(resource.RLIMIT_NOFILE, (target, hard))
    return max(soft, target)
