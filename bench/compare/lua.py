#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What functions cost on real connections: the same config in C and with a Lua function, one worker, over loopback.

    make bench-scripts
    sudo bench/compare/lua.py --rounds 41 --seconds 0.3

One process with a listener for each, loaded in turn, the first one changing with each round. What counts is the CPU
time of the worker for a connection, or for a byte, as a ratio within a round: what else the machine does falls on both.
Printed are the median and the quartiles of the ratio, and how the rates compare.
"""
import argparse
import json
import statistics
import sys
import tempfile
from pathlib import Path

import stage

ROOT = Path(__file__).resolve().parent.parent.parent
CONFIG = """local rx = require "refractium"
rx.server {{ workers = 1, access_log = false, max_connections = 4000 }}
local watch = rx.hook "watch" {{ on_data = function(conn, direction, buf) return #buf end }}
local in_c = rx.protocol "in_c" {{ transport = "tcp", prefix = "GET " }} -- how the load generator begins
local in_lua = rx.protocol "in_lua" {{ transport = "tcp", identify = function(buf) return buf:starts "GET " end }}
rx.listen "127.0.0.1:{plain}" {{ routes = {{ {{ in_c, to = "127.0.0.1:{backend}" }}, {{ rx.ssh, to = rx.drop }} }} }}
rx.listen "127.0.0.1:{other}" {{ routes = {{ {{ {route}, to = "127.0.0.1:{backend}" }}, {{ rx.ssh, to = rx.drop }} }} }}
"""
CHURN = ["connrate", "--flows", "32"]
BULK = ["bulk", "--flows", "4", "--direction", "down", "--discard"]

# What is compared with the route in C: words, load, the other listener's route.
CASES = [
    ("CPU per connection, the same again", CHURN, "in_c"),
    ("CPU per connection, identify in Lua", CHURN, "in_lua"),
    ("CPU per connection, with a when in Lua", CHURN, "in_c, when = function(conn) return conn.client.port > 0 end"),
    ("CPU per byte of bulk, with on_data", BULK, "in_c, hooks = { watch }"),
]


def worker_seconds(pid):
    """CPU time of the worker alone: hooks have a thread of their own."""
    for task in Path(f"/proc/{pid}/task").iterdir():
        if (task / "comm").read_text().startswith("rx-worker"):
            return int((task / "schedstat").read_text().split()[0]) / 1e9
    sys.exit("there is no worker")


def load(args, on_stage, process, port, arguments):
    """What a connection, or a byte, cost, and how many there were a second."""
    command = [args.loadgen, *arguments, "--target", f"127.0.0.1:{port}", "--seconds", str(args.seconds),
               "--warmup", "0"]
    before = worker_seconds(process.pid)
    done = on_stage.run(command, args.seconds + 40)
    if done.returncode:
        sys.exit(done.stderr.strip())
    answer = json.loads(done.stdout)
    return (worker_seconds(process.pid) - before) / (answer["rate_per_s"] * args.seconds), answer["rate_per_s"]


def measure(args, on_stage, home, case):
    words, arguments, route = case
    backend = on_stage.first_port
    config = home / "refractium.lua"
    config.write_text(CONFIG.format(plain=backend + 1, other=backend + 2, backend=backend, route=route))
    process = on_stage.start([args.refractium, "-c", str(config), "-q"], home, [backend + 1, backend + 2])
    costs, rates, plain = [], [], []
    for number in range(args.rounds):
        row = {}
        for side in (1, 2) if number % 2 == 0 else (2, 1):
            row[side] = load(args, on_stage, process, backend + side, arguments)
        costs.append(row[2][0] / row[1][0])
        rates.append(row[2][1] / row[1][1])
        plain.append(row[1][0])
    on_stage.stop(process)
    low, middle, high = statistics.quantiles(costs, n=4)
    print(f"{words:40} {middle:6.3f} ({low:.3f}-{high:.3f})  rate {statistics.median(rates):6.3f}  "
          f"of {statistics.median(plain):.3g} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    add = parser.add_argument
    add("--rounds", type=int, default=41)
    add("--seconds", type=float, default=0.3)
    add("--refractium", default=str(ROOT / "build" / "refractium"))
    add("--loadgen", default=str(ROOT / "build" / "release" / "bench" / "loadgen"))
    add("--no-netns", action="store_true", help="on the host's loopback, with the host's settings")
    args = parser.parse_args()
    try:
        with stage.Stage(not args.no_netns) as on_stage, tempfile.TemporaryDirectory(prefix="rxbench-") as home:
            on_stage.start([args.loadgen, "server", "--discard", "--listen", f"127.0.0.1:{on_stage.first_port}"], home,
                           [on_stage.first_port])
            for case in CASES:
                measure(args, on_stage, Path(home), case)
    except stage.StageError as err:
        sys.exit(str(err))


if __name__ == "__main__":
    main()
