# SPDX-License-Identifier: MIT
"""From samples to tables, verdicts on the targets, and the README's section. The plot is in plot.py."""

import re
import statistics
from collections import namedtuple

HAPROXY_PLAIN, HAPROXY_SPLICE = "haproxy", "haproxy-splice"
SUBJECT = "refractium"
BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"
KIB = 1024
DISTURBED_SHARE = 0.05

TITLES = {
    "churn-http": "Churn: connect, 64 B request (HTTP), 64 B answer, close; 32 at a time",
    "churn-tls": "Churn behind a 1.9 KB TLS hello, routed by its server name; 32 at a time",
    "pingpong": "Ping-pong: 32 kept connections, 64 B there and back",
    "bulk-down": "Bulk: 4 streams to the client",
    "bulk-up": "Bulk: 4 streams to the server",
    "bulk-both": "Bulk: 4 streams, both ways at once",
    "mixed": "8 ping-pong connections beside 4 streams",
    "idle": "Idle connections",
    "verify": "Every byte checked, 8 MiB each way, 4 streams",
}
CPU_UNITS = {"connection": (10000, "10k conn"), "message": (10000, "10k msg"), "GB": (1, "GB")}

Target = namedtuple("Target", "text verdict detail")


# ---- samples to numbers ------------------------------------------------------------------------------------

def samples_of(results, workload, proxy):
    return [s for s in results["samples"] if s["workload"] == workload and s["proxy"] == proxy]


def is_calm(sample):
    return sample.get("foreign_cpu_share", 0) <= DISTURBED_SHARE


def values(results, workload, proxy, metric):
    """One number per round that succeeded undisturbed; when all were disturbed, those have to do."""
    taken = [s for s in samples_of(results, workload, proxy) if "failed" not in s and metric in s]
    taken = [s for s in taken if is_calm(s)] or taken
    return {s["round"]: s[metric] for s in taken}


def median(results, workload, proxy, metric):
    found = values(results, workload, proxy, metric)
    return statistics.median(found.values()) if found else None


def ratio(results, workload, metric, proxy, base):
    """(median, lowest, highest) of the ratios taken within each round, or None.

    Within a round, because what disturbs a round disturbs both sides of its ratio.
    """
    ours, theirs = values(results, workload, proxy, metric), values(results, workload, base, metric)
    found = [ours[r] / theirs[r] for r in ours if theirs.get(r)]
    if not found and ours and any(theirs.values()):  # no calm round in common
        found = [statistics.median(ours.values()) / statistics.median(theirs.values())]
    return (statistics.median(found), min(found), max(found)) if found else None


def proxies_of(results, workload):
    return list(dict.fromkeys(s["proxy"] for s in results["samples"] if s["workload"] == workload))


def failures(results, workload, proxy):
    return [s["failed"] for s in samples_of(results, workload, proxy) if "failed" in s]


def errors(results, workload, proxy):
    """Connections that failed, as a share of all that were tried."""
    taken = [s for s in samples_of(results, workload, proxy) if "errors" in s]
    failed, worked = sum(s["errors"] for s in taken), sum(s["units"] for s in taken)
    return failed / (failed + worked) if failed else 0


def haproxy_of(workload):
    return HAPROXY_SPLICE if workload.startswith(("bulk", "mixed")) else HAPROXY_PLAIN


def summarize(results):
    """Medians and ratios of every workload and proxy, for whoever reads the JSON."""
    summary = {}
    skip = {"flows", "small_flows", "message_bytes", "round", "errors"}
    for workload in results["workloads"]:
        for proxy in proxies_of(results, workload):
            taken = samples_of(results, workload, proxy)
            metrics = sorted({k for s in taken for k, v in s.items() if isinstance(v, (int, float))} - skip)
            row = {metric: median(results, workload, proxy, metric) for metric in metrics}
            row = {metric: value for metric, value in row.items() if value is not None}
            for name, metric, base in (("rate_to_direct", "rate_per_s", "direct"),
                                       ("rate_to_haproxy", "rate_per_s", haproxy_of(workload)),
                                       ("cpu_to_haproxy", "cpu_s_per_unit", haproxy_of(workload))):
                found = ratio(results, workload, metric, proxy, base)
                if found:
                    row[name] = found[0]
            if any("errors" in s for s in taken):
                row["error_share"] = errors(results, workload, proxy)
            if failures(results, workload, proxy):
                row["failed"] = failures(results, workload, proxy)
            summary.setdefault(workload, {})[proxy] = row
    return summary


# ---- tables ------------------------------------------------------------------------------------------------

def short(value, digits=3):
    """Few digits, no exponent: what a reader compares at a glance."""
    if value is None:
        return "–"
    if abs(value) >= 10 ** digits:
        return f"{value:,.0f}".replace(",", " ")
    if not value:
        return "0"
    whole = len(str(int(abs(value)))) if abs(value) >= 1 else 0
    return f"{value:.{max(0, digits - whole)}f}"


def times(found):
    return f"{found[0]:.2f}×" if found else "–"


def markdown(header, rows):
    """A Markdown table that also reads well in a terminal."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]

    def line(cells):
        padded = [c.ljust(w) if i == 0 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(header), rule, *[line(row) for row in rows]])


def failed_row(name, results, workload, n_columns):
    return [name, "failed" if failures(results, workload, name) else "–"] + [""] * (n_columns - 2)


def rate_table(results, workload):
    unit = next((s["unit"] for s in results["samples"] if s["workload"] == workload and "unit" in s), "connection")
    scale, per = CPU_UNITS[unit]
    is_bulk = unit == "GB"
    header = ["", "GB/s" if is_bulk else f"{per.split()[1]}/s", "to direct", "to HAProxy", f"CPU s/{per}",
              "CPU to HAProxy"]
    header += [] if is_bulk else ["p50 µs", "p99 µs"]
    header += ["failed conn"] if workload.startswith("churn") else []
    rows, base = [], haproxy_of(workload)
    for name in proxies_of(results, workload):
        rate = median(results, workload, name, "rate_per_s")
        if rate is None:
            rows.append(failed_row(name, results, workload, len(header)))
            continue
        cpu = median(results, workload, name, "cpu_s_per_unit")
        row = [name, short(rate), times(ratio(results, workload, "rate_per_s", name, "direct")),
               times(ratio(results, workload, "rate_per_s", name, base)),
               short(cpu * scale if cpu is not None else None),
               times(ratio(results, workload, "cpu_s_per_unit", name, base))]
        if not is_bulk:
            row += [short(median(results, workload, name, metric)) for metric in ("p50_us", "p99_us")]
        if workload.startswith("churn"):
            share = errors(results, workload, name)
            row.append(f"{share:.2%}" if share else "0")
        rows.append(row)
    return markdown(header, rows)


def columns_table(results, workload, columns):
    """One row per proxy; columns are (heading, metric, factor)."""
    header = ["", *[heading for heading, _, _ in columns]]
    rows = []
    for name in proxies_of(results, workload):
        found = [median(results, workload, name, metric) for _, metric, _ in columns]
        if all(value is None for value in found):
            rows.append(failed_row(name, results, workload, len(header)))
        else:
            rows.append([name, *[short(None if v is None else v * c[2]) for v, c in zip(found, columns)]])
    return markdown(header, rows)


def verify_table(results):
    def said(workload, name):
        taken = samples_of(results, workload, name)
        return "–" if not taken else "ok" if all(s.get("result") == "ok" for s in taken) else "failed"

    columns = ["verify", "verify-server-first"]
    names = list(dict.fromkeys(n for w in columns for n in proxies_of(results, w)))
    return markdown(["", "client closes first", "server closes first"],
                    [[name, *[said(workload, name) for workload in columns]] for name in names])


def workload_table(results, workload):
    if workload == "mixed":
        return columns_table(results, workload, [
            ("small p50 µs", "p50_us", 1), ("small p99 µs", "p99_us", 1), ("small msg/s", "rate_per_s", 1),
            ("bulk GB/s", "bulk_gb_per_s", 1), ("CPU s/bulk GB", "cpu_s_per_bulk_gb", 1)])
    if workload == "idle":
        return columns_table(results, workload, [
            ("connections", "connections", 1), ("RSS B/conn", "rss_bytes_per_connection", 1),
            ("fds/conn", "fds_per_connection", 1), ("RSS MB", "rss_kb", 1 / KIB)])
    return rate_table(results, workload)


def disturbance(results):
    """What everything that is not part of the measurement took of the machine meanwhile."""
    shares = [s["foreign_cpu_share"] for s in results["samples"] if "foreign_cpu_share" in s]
    if not shares:
        return ""
    n_disturbed = sum(share > DISTURBED_SHARE for share in shares)
    told = f" · other processes took {statistics.median(shares):.0%} of the machine, {max(shares):.0%} at worst"
    if n_disturbed:
        told += f"; {n_disturbed} of {len(shares)} measurements were disturbed and count only where no other exists"
    return told + (" — **measure again**" if n_disturbed > len(shares) / 3 else "")


def heading(results):
    box, versions = results["machine"], results["versions"]
    lines = [f"{results['date']} · {box['cpu']}, {box['cpus']} CPUs, Linux {box['kernel']} · "
             f"{results['network'].get('net.ipv4.tcp_congestion_control', '?')} · load before {box['load_before']}",
             "",
             f"`{results['command']}` · {results['rounds']} rounds, {results['seconds']} s windows, medians"
             f"{disturbance(results)}",
             ""]
    for name, about in results["about"].items():
        lines.append(f"- **{name}**: {versions.get(name, '')}{'; ' if name in versions else ''}{about}")
    lines += [f"- {why} (skipped)" for why in results["skipped"].values()]
    return "\n".join(lines)


def notes(results):
    """What failed and why, once per reason."""
    found = {}
    for sample in results["samples"]:
        why = sample.get("failed") or sample.get("result", "ok")
        if why != "ok":
            why = re.sub(r"/\S*/", "", why)  # directories of this run mean nothing to a reader
            found.setdefault((sample["proxy"], why), []).append(sample["workload"])
    return [f"- {proxy} failed ({', '.join(dict.fromkeys(where))}): {why}" for (proxy, why), where in found.items()]


def tables(results):
    parts = [heading(results)]
    for workload in results["workloads"]:
        if workload.startswith("verify"):
            continue
        parts.append(f"**{TITLES[workload]}**\n\n{workload_table(results, workload)}")
    if any(workload.startswith("verify") for workload in results["workloads"]):
        parts.append(f"**{TITLES['verify']}**\n\n{verify_table(results)}")
    if notes(results):
        parts.append("\n".join(notes(results)))
    return "\n\n".join(parts) + "\n"


# ---- targets -----------------------------------------------------------------------------------------------

def judge(results, workload, text, found, is_reached, unit="×"):
    """`found` is (median, lowest, highest) or None; a round that failed is a target missed."""
    failed = failures(results, workload, SUBJECT)
    if found is None:
        return Target(text, "missed", "failed") if failed else Target(text, "not measured", "")
    low, high = (f"{n:.2f}" for n in found[1:])
    detail = f"{found[0]:.2f}{unit}" + (f" ({low}–{high})" if low != high else "")
    share = errors(results, workload, SUBJECT)
    if failed:
        detail += f", {len(failed)} rounds failed"
    elif share:
        detail += f", {share:.2%} of the connections failed"
    return Target(text, "reached" if is_reached(found[0]) and not failed and not share else "missed", detail)


def at_least(limit):
    return lambda value: value >= limit


def at_most(limit):
    return lambda value: value <= limit


def against(results, workload, metric, base, text, is_reached):
    return judge(results, workload, text, ratio(results, workload, metric, SUBJECT, base), is_reached)


def churn_targets(results):
    for workload, label in (("churn-http", "churn"), ("churn-tls", "churn behind a TLS hello")):
        yield against(results, workload, "rate_per_s", HAPROXY_PLAIN,
                      f"{label}: at least HAProxy's rate", at_least(1.0))
        yield against(results, workload, "cpu_s_per_unit", HAPROXY_PLAIN,
                      f"{label}: at most 0.90 of HAProxy's CPU per connection", at_most(0.90))


def pingpong_targets(results):
    for base, label in ((HAPROXY_PLAIN, "HAProxy's"), ("nginx", "nginx'"), ("sslh", "sslh's")):
        yield against(results, "pingpong", "cpu_s_per_unit", base,
                      f"ping-pong: at most 0.90 of {label} CPU per message", at_most(0.90))


def bulk_targets(results):
    for way in ("down", "up", "both"):
        yield against(results, f"bulk-{way}", "rate_per_s", HAPROXY_SPLICE,
                      f"bulk {way}: at least HAProxy's rate, explicit splice", at_least(1.0))
        yield against(results, f"bulk-{way}", "cpu_s_per_unit", HAPROXY_SPLICE,
                      f"bulk {way}: at most HAProxy's CPU per GB, explicit splice", at_most(1.0))
        yield against(results, f"bulk-{way}", "rate_per_s", "nginx",
                      f"bulk {way}: at least twice nginx' rate", at_least(2.0))


def mixed_targets(results):
    """Against both configurations: the one that streams slower leaves its small flows more room."""
    for base, label in ((HAPROXY_SPLICE, "explicit splice"), (HAPROXY_PLAIN, "splice-auto")):
        yield against(results, "mixed", "p99_us", base,
                      f"bulk beside ping-pong: p99 of the small flows at most half of HAProxy's, {label}", at_most(0.5))


def idle_targets(results):
    for text, metric, limit, factor, unit in (
            ("idle: at most 0.6 KB of user memory per connection", "rss_bytes_per_connection", 0.6, 1 / KIB, " KB"),
            ("idle: at most 2 descriptors per connection", "fds_per_connection", 2.0, 1, "")):
        found = [value * factor for value in values(results, "idle", SUBJECT, metric).values()]
        found = (statistics.median(found), min(found), max(found)) if found else None
        # The proxy may have opened one of its own meanwhile; that is not a cost per connection.
        yield judge(results, "idle", text, found, at_most(limit + 0.005), unit)


def check(results):
    return [*churn_targets(results), *pingpong_targets(results), *bulk_targets(results), *mixed_targets(results),
            *idle_targets(results)]


def targets_text(targets):
    rows = [[t.text, t.verdict, t.detail] for t in targets]
    return markdown(["target", "verdict", "median (lowest–highest) of the rounds"], rows)


# ---- the README --------------------------------------------------------------------------------------------

def rewrite_readme(path, results, targets):
    text = path.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise SystemExit(f"bench-compare: {path} has no section between {BEGIN} and {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    body = f"\n\n{tables(results)}\n{targets_text(targets)}\n\n"
    path.write_text(before + BEGIN + body + END + after)
