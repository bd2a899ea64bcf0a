# SPDX-License-Identifier: MIT
"""The results as an SVG: one row of panels per workload, bars per proxy. Written by hand; needs nothing but a viewer.

The left panel is what a user gets, the right one what it costs. Bars begin at zero and every bar carries its number,
so the plot can be read without a scale.
"""

from html import escape

import report

PANEL_W, BAR_H, BAR_GAP = 560, 18, 6
LABEL_W, VALUE_W, MARGIN, HEAD_H, TITLE_H = 120, 90, 24, 66, 46
ACCENT, PLAIN, FAINT, INK, QUIET = "#c2410c", "#64748b", "#cbd5e1", "#0f172a", "#475569"

# workload: title, then per panel (heading, metric, factor, whether more is better)
PANELS = {
    "churn-http": ("Connection churn, HTTP first bytes", ("connections/s", "rate_per_s", 1, True),
                   ("proxy CPU s per 10k connections", "cpu_s_per_unit", 1e4, False)),
    "churn-tls": ("Connection churn, 1.9 KB TLS hello, SNI route", ("connections/s", "rate_per_s", 1, True),
                  ("proxy CPU s per 10k connections", "cpu_s_per_unit", 1e4, False)),
    "pingpong": ("Ping-pong, 32 connections, 64 B", ("messages/s", "rate_per_s", 1, True),
                 ("proxy CPU s per 10k messages", "cpu_s_per_unit", 1e4, False)),
    "bulk-down": ("Bulk, 4 streams to the client", ("GB/s", "rate_per_s", 1, True),
                  ("proxy CPU s per GB", "cpu_s_per_unit", 1, False)),
    "bulk-up": ("Bulk, 4 streams to the server", ("GB/s", "rate_per_s", 1, True),
                ("proxy CPU s per GB", "cpu_s_per_unit", 1, False)),
    "bulk-both": ("Bulk, 4 streams both ways", ("GB/s", "rate_per_s", 1, True),
                  ("proxy CPU s per GB", "cpu_s_per_unit", 1, False)),
    "mixed": ("Ping-pong beside 4 streams", ("p99 of the small flows, µs", "p99_us", 1, False),
              ("GB/s of the streams meanwhile", "bulk_gb_per_s", 1, True)),
    "idle": ("Idle connections", ("user memory per connection, bytes", "rss_bytes_per_connection", 1, False),
             ("descriptors per connection", "fds_per_connection", 1, False)),
}


def number(value):
    if value >= 1000:
        return f"{value:,.0f}".replace(",", "\u2009")
    return f"{value:.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.3g}"


def text(x, y, content, size=12, fill=INK, anchor="start", weight="normal"):
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" fill="{fill}" text-anchor="{anchor}" '
            f'font-weight="{weight}">{escape(content)}</text>')


def medians(results, workload, metric):
    """Proxy to median, in the order the proxies were named."""
    found = {name: report.median(results, workload, name, metric) for name in results["about"]}
    return {name: value for name, value in found.items() if value is not None}


def panel(results, workload, spec, x, y):
    """Returns the panel's elements and its height."""
    heading, metric, factor, is_more_better = spec
    rows = {name: value * factor for name, value in medians(results, workload, metric).items()}
    out = [text(x, y + 12, f"{heading} ({'more' if is_more_better else 'less'} is better)", 12, QUIET)]
    longest = max([*rows.values(), 1e-9])
    room = PANEL_W - LABEL_W - VALUE_W
    for i, (name, value) in enumerate(rows.items()):
        top = y + 22 + i * (BAR_H + BAR_GAP)
        width = max(1.0, room * max(value, 0) / longest)
        is_subject = name.startswith("refractium")
        fill = ACCENT if is_subject else FAINT if name == "direct" else PLAIN
        weight = "bold" if is_subject else "normal"
        out.append(text(x + LABEL_W - 8, top + 13, name, 12, INK, "end", weight))
        out.append(f'<rect x="{x + LABEL_W}" y="{top}" width="{width:.1f}" height="{BAR_H}" rx="2" fill="{fill}"/>')
        out.append(text(x + LABEL_W + width + 6, top + 13, number(value), 12, INK, "start", weight))
    if not rows:
        out.append(text(x + LABEL_W, y + 36, "not measured", 12, QUIET))
    return out, 22 + max(1, len(rows)) * (BAR_H + BAR_GAP)


def svg(results):
    box = results["machine"]
    width = 2 * PANEL_W + 3 * MARGIN
    body = [text(MARGIN, 32, "refractium beside other TCP proxies, one worker each, over loopback", 18, INK,
                 weight="bold"),
            text(MARGIN, 54, f"{results['date'][:10]} · {box['cpu']}, {box['cpus']} CPUs, Linux {box['kernel']} · "
                 f"{', '.join(dict.fromkeys(results['versions'].values()))}", 12, QUIET)]
    y = HEAD_H
    for workload, (title, left, right) in PANELS.items():
        if workload not in results["workloads"]:
            continue
        body.append(f'<line x1="{MARGIN}" y1="{y + 8}" x2="{width - MARGIN}" y2="{y + 8}" stroke="{FAINT}"/>')
        body.append(text(MARGIN, y + 32, title, 14, INK, weight="bold"))
        heights = []
        for column, spec in enumerate((left, right)):
            elements, height = panel(results, workload, spec, MARGIN + column * (PANEL_W + MARGIN), y + TITLE_H)
            body += elements
            heights.append(height)
        y += TITLE_H + max(heights) + 6
    height = y + MARGIN
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" role="img" '
        'aria-label="Benchmark results: bars per proxy and workload">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *body, "</svg>", ""])
