# SPDX-License-Identifier: MIT
"""import: predecessors' configs become ones that check accepts, and nothing they say is lost."""
import json
import pathlib
import re
import subprocess

import pytest

from harness import BINARY, ROOT, run_binary

pytestmark = pytest.mark.sanitize

INPUTS = pathlib.Path(ROOT) / "tests" / "import"
CONFIGS = sorted(INPUTS.iterdir())


def imported(path, *more, cwd):
    got = run_binary("import", path, *more, cwd=cwd)
    assert got.returncode == 0, got.stderr
    return got.stdout


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.name)
def test_what_is_imported_passes_check(path, tmp_path):
    (tmp_path / "refractium.lua").write_bytes(imported(path, cwd=tmp_path))
    got = run_binary("check", cwd=tmp_path)
    assert got.returncode == 0 and b"warning" not in got.stderr + got.stdout, got.stderr + got.stdout


def test_one_port_for_both_transports_keeps_them_apart(tmp_path):
    """sslh: entries are about one transport; anyprot is the fallback of it, and what stands behind it is never asked."""
    (tmp_path / "sslh.cfg").write_text("""
listen: ( { host: "127.0.0.1"; port: "443"; }, { host: "127.0.0.1"; port: "443"; is_udp: true; },
          { host: "127.0.0.1"; port: "444"; is_udp: true; }, { host: "127.0.0.1"; port: "445"; } );
protocols: ( { name: "openvpn"; host: "127.0.0.1"; port: "1"; }, { name: "anyprot"; host: "127.0.0.1"; port: "2"; },
             { name: "ssh"; host: "127.0.0.1"; port: "3"; }, { name: "tls"; is_udp: true; host: "127.0.0.1"; port: "4"; },
             { name: "openvpn"; is_udp: true; host: "127.0.0.1"; port: "5"; },
             { name: "anyprot"; is_udp: true; host: "127.0.0.1"; port: "6"; } );
""")
    (tmp_path / "refractium.lua").write_bytes(imported("sslh.cfg", cwd=tmp_path))
    got = run_binary("check", "--json", cwd=tmp_path)
    assert got.returncode == 0 and b"warning" not in got.stderr, got.stderr
    seen = {tuple(listen["addresses"]): listen for listen in json.loads(got.stdout)["listeners"]}

    def ports(*address):
        listen = seen[address]
        def target(t):
            return t and t["backends"][0]["address"][-1]

        return [r["transport"] + target(r["to"]) for r in listen["routes"]], \
            target(listen["fallback_tcp"]), target(listen["fallback_udp"])

    assert ports("127.0.0.1:443") == (["tcp1", "tcp3", "udp5"], "2", "6")  # 3: silent clients, on-timeout
    assert ports("127.0.0.1:444") == (["udp5"], None, "6")
    assert ports("127.0.0.1:445") == (["tcp1", "tcp3"], "2", None)


@pytest.mark.parametrize("path", sorted(INPUTS.iterdir()), ids=lambda p: p.name)
def test_every_value_is_in_the_output(path, tmp_path):
    """As an option, or in a comment. The inputs hold every key there is; values that are words or numbers are found."""
    text = re.sub(r"#.*", "", path.read_text())
    values = set(re.findall(r'"([\w./:*-]{3,})"', text)) | set(re.findall(r"[=:] *(\d{2,})\b", text))
    values -= {"default", "tcp", "udp", "both"}
    out = imported(path, cwd=tmp_path).decode().replace('"', "")
    values -= {"c2VjcmV0"}  # a private key
    values -= {"none", "HTTPS"}  # the absence of a header; rx.tls
    lost = [v for v in values if v not in out]
    assert not lost, f"{lost} of {path.name} are not in\n{out}"
    assert "c2VjcmV0" not in out


def test_libraries_for_other_formats_are_not_linked():
    shown = subprocess.run(["ldd", BINARY], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout
    assert "libyaml" not in shown and "libconfig" not in shown


BROKEN = [
    ("x.toml", "listen_port = \n", "line 1: a value is missing"),
    ("x.yaml", "PORTMUX: {\n  ip: [", "line 3: did not find expected node content"),
    ("x.yaml", "PORTMUX: &a\n  ip: *a\n", "line 2: aliases (*name) are not read"),
    ("x.yaml", "PORTMUX: 1\n---\nPORTMUX: 2\n", "line 2: a second document in one file"),
    ("x.yaml", "HTTP: 1\nHTTP: 2\n", 'line 2: "HTTP" is there twice (first in line 1)'),
    ("x.yaml", "SSH: !!int 3\n", "line 1: tags (!...) are not read"),
    ("x.yaml", "HTTP: " + "[" * 100, "line 1: nested too deeply"),
    ("x.cfg", "listen:\n( { host: } );\n", "line 2: syntax error"),
    ("x.cfg", "protocols: (\n" + "(" * 100 + ")" * 100 + ");", "line 2: nested too deeply"),
    ("x.txt", "hello\n", "cannot tell what this is; say so with --format"),
    ("x.txt", "", "cannot tell what this is; say so with --format"),
]


@pytest.mark.parametrize("name, text, words", BROKEN, ids=[f"{i}-{b[0]}" for i, b in enumerate(BROKEN)])
def test_a_broken_file_is_one_line_with_its_place(name, text, words, tmp_path):
    (tmp_path / name).write_text(text)
    got = run_binary("import", name, cwd=tmp_path)
    assert got.returncode == 1
    assert got.stdout == b""
    lines = got.stderr.decode().splitlines()
    assert len(lines) == 1 and lines[0].startswith(f"refractium import: {name}: ") and words in lines[0], got.stderr


def test_standard_input_and_a_format_that_is_told(tmp_path):
    got = run_binary("import", "-", "--format", "portmux", cwd=tmp_path, stdin=b"SSH: { default: 22 }\n")
    assert got.returncode == 0, got.stderr
    assert b'{ rx.ssh, to = "127.0.0.1:22" }' in got.stdout
    got = run_binary("import", "-", "--format", "nginx", cwd=tmp_path, stdin=b"x")
    assert got.returncode == 1
    assert b"--format: no format \"nginx\" (refractium, rpxy, portmux, sslh, refract)" in got.stderr


def test_no_file_and_no_such_file(tmp_path):
    got = run_binary("import", cwd=tmp_path)
    assert got.returncode == 1 and b"FILE" in got.stderr
    got = run_binary("import", "nothing.toml", cwd=tmp_path)
    assert got.returncode == 1 and b"nothing.toml: No such file or directory" in got.stderr


def test_an_included_file_is_looked_for_beside_the_first(tmp_path):
    etc = tmp_path / "etc"
    etc.mkdir()
    (etc / "more.cfg").write_text('{ name: "ssh"; host: "127.0.0.1"; port: "22"; }\n')
    (etc / "sslh.cfg").write_text('listen: ( { host: "127.0.0.1"; port: "443"; } );\nprotocols: (\n@include "more.cfg"\n);\n')
    out = imported("etc/sslh.cfg", cwd=tmp_path)
    assert b'{ rx.ssh, to = "127.0.0.1:22" }' in out

