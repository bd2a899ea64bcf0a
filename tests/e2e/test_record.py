# SPDX-License-Identifier: MIT
"""record and replay: what clients said is kept, bounded, and decided again under another config."""
import json
import os
import socket
import stat

import pytest

from harness import make_config, run_binary, wait_for

pytestmark = pytest.mark.sanitize

ROUTES = "{ rx.http, to = rx.respond }, { rx.ssh, to = rx.drop },"
HTTP = b"GET /a HTTP/1.1\r\nHost: a.test\r\n\r\n"
SSH = b"SSH-2.0-x\r\n"


def config(record="", routes=ROUTES, **more):
    return make_config(routes, server=record and f"record = {{ {record} }}", **more)


def file_in(directory):
    return f'file = "{directory}/r.record"'


def say(program, *messages):
    for message in messages:
        with program.connect() as s:
            s.sendall(message)
            s.settimeout(10)
            try:
                while s.recv(65536):
                    pass
            except ConnectionResetError:
                pass


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def recorded(path, count):
    wait_for(lambda: os.path.exists(path) and len(lines(path)) > count, what=f"{count} decisions in {path}")
    head, *rest = lines(path)
    assert head == {"refractium_record": 1}
    return rest


def replay(directory, routes, recording="r.record", *more, listen='"127.0.0.1:0"'):
    with open(os.path.join(directory, "new.lua"), "w", encoding="utf-8") as f:
        f.write(config(routes=routes, listen=listen))
    return run_binary("replay", recording, "-c", "new.lua", *more, cwd=directory)


def test_decisions_are_kept_with_their_first_bytes(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path)))
    say(program, HTTP, SSH, b"blub")
    http, ssh, other = recorded(tmp_path / "r.record", 3)
    assert bytes.fromhex(http["bytes"]) == HTTP and http["len"] == len(HTTP)
    assert (http["protocol"], http["route"], http["to"]) == ("http", "http", "describe")
    assert http["from"] == "127.0.0.1" and http["listen"] == "127.0.0.1:0" and http["ended"] == "open"
    assert (ssh["protocol"], ssh["to"]) == ("ssh", "drop")
    assert (other["protocol"], other["route"], other["to"]) == (None, None, "drop")
    mode = stat.S_IMODE(os.stat(tmp_path / "r.record").st_mode)
    assert mode == 0o600
    program.stop()


def test_the_command_records_without_a_config_that_asks(rx, tmp_path):
    program = rx.config(config(), args=["record", "-o", tmp_path / "own.record"])
    say(program, SSH)
    assert recorded(tmp_path / "own.record", 1)[0]["protocol"] == "ssh"
    program.stop()


def send_udp(program, *messages):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect(("127.0.0.1", program.ports[1]))
        for message in messages:
            s.send(message)


def test_datagrams_are_kept_as_they_came_and_decided_again(rx, tmp_path):
    """Promise: a UDP client's first datagrams are recorded with their boundaries; replay decides them one by one."""
    hello = bytes.fromhex("0100000000000000" "00000000")  # begins like WireGuard, too short to be
    query = bytes.fromhex("123401000001000000000000" "076578616d706c6503636f6d0000010001")
    own = """local two = rx.protocol "two" { transport = "udp", prefix = "ONE" }"""
    routes = "{ rx.dns, to = rx.drop }, { two, to = rx.echo }"
    program = rx.config(config(file_in(tmp_path), routes=routes, prelude=own, options="fallback_udp = rx.drop,"), binds=2)
    for message in (query, b"ONE and more", hello):
        send_udp(program, message)
        recorded(tmp_path / "r.record", 1)
    dns, one, other = sorted(recorded(tmp_path / "r.record", 3), key=lambda line: line["len"], reverse=True)
    assert {line["transport"] for line in (dns, one, other)} == {"udp"}
    assert (dns["protocol"], dns["to"], dns["datagrams"]) == ("dns", "drop", [len(query)])
    assert (one["protocol"], one["to"]) == ("two", "echo") and bytes.fromhex(one["bytes"]) == b"ONE and more"
    assert (other["protocol"], other["to"]) == (None, "drop")
    program.stop()
    with open(tmp_path / "new.lua", "w", encoding="utf-8") as f:
        f.write(config(routes=routes, prelude=own, options="fallback_udp = rx.drop,"))
    same = run_binary("replay", "r.record", "-c", "new.lua", cwd=tmp_path)
    assert same.stdout.decode() == "3 decisions, 0 changes\n", same.stderr
    got = replay(tmp_path, "{ rx.dns, to = rx.echo },")
    assert got.stdout.decode().splitlines()[-1] == "3 decisions, 2 changes"
    assert "dns: to drop -> echo" in got.stdout.decode()


def test_a_running_instance_records_when_told_to_and_until_then(rx, tmp_path):
    """Promise: record start begins, a reload does not end it, record stop does; what is in the way is said."""
    program = rx.config(config())
    path = tmp_path / "told.record"

    def tell(*words):
        return run_binary("record", *words, "-p", program.port, cwd=tmp_path,
                          env={"XDG_RUNTIME_DIR": program.directory})

    assert tell("stop").returncode == 1
    say(program, SSH)
    assert tell("start", "-o", "told.record").stdout == b"recorded from now on\n"
    assert "there is a recording already" in tell("start").err
    say(program, SSH)
    assert len(recorded(path, 1)) == 1
    assert run_binary("reload", "-p", program.port, env={"XDG_RUNTIME_DIR": program.directory}).returncode == 0
    say(program, HTTP)
    recorded(path, 2)
    status = json.loads(run_binary("status", "--json", "-p", program.port,
                                   env={"XDG_RUNTIME_DIR": program.directory}).out)
    assert status["recording"] == str(path)
    assert tell("stop").returncode == 0
    say(program, SSH)
    assert [line["protocol"] for line in recorded(path, 2)] == ["ssh", "http"]
    (tmp_path / "mine").write_text("no recording")
    assert "exists and is no recording" in tell("start", "-o", "mine").err
    assert (tmp_path / "mine").read_text() == "no recording"
    assert "must be start or stop" in tell("begin").err


def test_nothing_is_recorded_unless_asked(rx, tmp_path):
    program = rx.config(config())
    say(program, SSH)
    program.stop()
    assert not [name for name in os.listdir(program.directory) if name.endswith(".record")]


def test_replay_lists_what_changes_and_nothing_else(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path)))
    say(program, HTTP, SSH, SSH, b"blub")
    recorded(tmp_path / "r.record", 4)
    program.stop()
    same = replay(tmp_path, ROUTES)
    assert same.returncode == 0, same.stdout + same.stderr
    assert same.stdout.decode() == "4 decisions, 0 changes\n"
    got = replay(tmp_path, ROUTES.replace("rx.drop", "rx.echo"))
    assert got.returncode == 1
    first, second, total = got.stdout.decode().splitlines()
    assert first.startswith("r.record:3: ") and first.endswith("127.0.0.1, 11 bytes: ssh: to drop -> echo")
    assert second.startswith("r.record:4: ")
    assert total == "4 decisions, 2 changes"
    renamed = replay(tmp_path, ROUTES.replace("{ rx.ssh,", '{ rx.ssh, name = "gate",'))
    assert renamed.returncode == 0
    assert renamed.stdout.decode() == "4 decisions, 0 changes, 2 by a route of another name\n"
    got = replay(tmp_path, "{ rx.http, to = rx.respond },", "r.record", "--json")
    assert got.returncode == 1
    told = json.loads(got.stdout)
    assert (told["decisions"], told["changed"], told["unreadable"]) == (4, 2, 0)
    assert told["changes"][0]["was"] == {"protocol": "ssh", "route": "ssh", "to": "drop"}
    assert told["changes"][0]["is"] == {"protocol": None, "route": None, "to": "drop"}


def test_replay_knows_who_came_and_how_it_ended(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path), options='peek_timeout = "100ms",',
                                                 routes="{ rx.silent, to = rx.echo }, { rx.ssh, to = rx.drop },"))
    with program.connect(), program.connect() as speaks:
        speaks.sendall(b"SSH-")
        recorded(tmp_path / "r.record", 2)
    program.stop()
    assert {r["ended"] for r in lines(tmp_path / "r.record")[1:]} == {"timeout"}
    got = replay(tmp_path, "{ rx.silent, to = rx.echo }, { rx.ssh, to = rx.drop },")
    assert got.returncode == 0, got.stdout
    got = replay(tmp_path, '{ rx.silent, not_from = "127.0.0.0/8", to = rx.echo },')
    assert got.returncode == 1 and b"to echo -> drop" in got.stdout


def test_what_was_cut_short_is_counted_not_guessed(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path) + ', bytes = "4b"'))
    say(program, HTTP, SSH)
    assert [len(r["bytes"]) for r in recorded(tmp_path / "r.record", 2)] == [8, 8]
    program.stop()
    got = replay(tmp_path, '{ rx.http, host = "a.test", to = rx.drop }, { rx.ssh, to = rx.drop },')
    assert b"2 decisions, 0 changes, 2 cannot be told" in got.stdout, got.stdout
    assert got.returncode == 0


def test_a_sample_is_that_share(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path) + ', sample = "10%"'))
    say(program, *[SSH] * 40)
    program.stop()
    assert len(lines(tmp_path / "r.record")) == 1 + 4


def test_a_full_file_ends_recording_and_nothing_else(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path) + ', max_size = "4k"'))
    say(program, *[HTTP] * 40)
    program.err.wait("max_size is reached")
    say(program, SSH)
    program.stop()
    assert os.path.getsize(tmp_path / "r.record") <= 4096
    assert 3 < len(lines(tmp_path / "r.record")) < 40


def test_a_full_disk_ends_recording_and_nothing_else(rx, tmp_path):
    if os.geteuid():
        pytest.skip("mounting a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=16k none {small} 2>/dev/null"):
        pytest.skip("mounting is not permitted here")
    try:
        program = rx.config(config(file_in(tmp_path).replace("r.record", "small/r.record")))
        say(program, *[HTTP] * 120)
        program.err.wait("No space left on device; nothing more is recorded")
        say(program, SSH)
        program.stop()
        program.check()
        assert len(lines(small / "r.record")) > 3  # and every line is whole
    finally:
        os.system(f"umount -l {small}")


def test_an_edit_starts_and_stops_recording(rx, tmp_path):
    program = rx.config(config())
    say(program, SSH)
    program.write_config(config(file_in(tmp_path)))
    program.err.wait("record: first bytes of clients go to ")
    say(program, HTTP)
    recorded(tmp_path / "r.record", 1)
    program.write_config(config())
    program.err.wait("record: 1 decisions in .*r.record, 0 left out")
    say(program, SSH)
    program.stop()
    assert [r["protocol"] for r in lines(tmp_path / "r.record")[1:]] == ["http"]


def test_a_recording_is_added_to_and_other_files_are_left_alone(rx, tmp_path):
    for _ in range(2):
        program = rx.config(config(file_in(tmp_path)))
        say(program, SSH)
        program.stop()
    assert len(recorded(tmp_path / "r.record", 2)) == 2
    (tmp_path / "mine.txt").write_text("precious\n")
    os.symlink("mine.txt", tmp_path / "link")
    for name, why in ("mine.txt", b"exists and is no recording"), ("link", b"symbolic links"), (".", b"directory"):
        (tmp_path / "refractium.lua").write_text(config(f'file = "{name}"'))
        got = run_binary(cwd=tmp_path)
        assert got.returncode == 2 and why in got.stderr, got.stderr
    assert (tmp_path / "mine.txt").read_text() == "precious\n"


def test_replay_of_what_is_no_recording(rx, tmp_path):
    (tmp_path / "new.lua").write_text(config())
    (tmp_path / "r.record").write_text('{"refractium_record":1}\nnonsense\n{"ms":1}\n')
    got = replay(tmp_path, ROUTES)
    assert got.returncode == 1
    assert got.stderr.decode().splitlines() == ["r.record:2: is no JSON object",
                                                 "r.record:3: ms, port and len must be numbers"]
    assert got.stdout.decode() == "0 decisions, 0 changes, 2 lines cannot be read\n"
    for text, why in ("", b"is empty"), ("hello\n", b"is no recording"), ('{"refractium_record":2}\n', b"another version"):
        (tmp_path / "r.record").write_text(text)
        got = replay(tmp_path, ROUTES)
        assert got.returncode == 1 and why in got.stderr, got.stderr
    got = replay(tmp_path, ROUTES, "nothing.record")
    assert got.returncode == 1 and b"No such file" in got.stderr


def test_clients_of_a_unix_socket_are_recorded_too(rx, tmp_path):
    program = rx.config(config(file_in(tmp_path), listen=f'"unix:{tmp_path}/s.sock"'), binds=0, is_up=False)
    wait_for(lambda: os.path.exists(tmp_path / "s.sock"), what="the socket")
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(str(tmp_path / "s.sock"))
        s.sendall(SSH)
        s.recv(10)
    recorded(tmp_path / "r.record", 1)
    program.stop()
    got = replay(tmp_path, ROUTES)
    assert got.returncode == 0, got.stderr + got.stdout
