# SPDX-License-Identifier: MIT
"""Every file of the corpus through `explain --builtin --json`, beside what an independent parse says of it."""
import concurrent.futures
import json
import os
import socket

import pytest

import peers
import wire
from harness import CORPUS, SANITIZER, run_binary

IN_C = {"tls", "http", "ssh", "dns", "ftp", "socks4", "socks5", "openvpn", "xmpp", "postgres", "mysql", "redis",
        "mqtt", "rdp", "smtp", "imap", "pop3", "vnc", "coap"}
UDP_ONLY = {"teamspeak"}
# Over UDP; the last four ship as scripts.
SHIPPED_UDP = {"dns", "openvpn", "coap", "quic", "dtls", "wireguard", "stun", "ntp", "rtp", "snmp", "syslog", "sip",
               "teamspeak"}
ORDER = os.path.join(os.path.dirname(os.path.dirname(CORPUS)), "scripts", "protocols", "ORDER")
with open(ORDER, encoding="utf-8") as _order:
    SHIPPED = IN_C | {line.strip() for line in _order if line.strip() and not line.startswith("#")} - UDP_ONLY

# The same bytes as another protocol's, or a prefix of one that is asked first.
SHARED = {
    "beanstalkd/spec-stats.bin": "memcached",  # both have a command "stats"
    "managesieve/openssl-starttls.bin": "irc",  # STARTTLS alone; its clients wait for a greeting anyway
    "lpd/rlpr-print.bin": None,  # the same of four
}

CALLED = {"http2": "http", "websocket": "http"}  # what these labels are to a multiplexer
CALLED_UDP = {"rtcp": "rtp", "mdns": "dns", "dnscrypt": "dns", "teamspeak3": "teamspeak"}
PEEK = 64 * 1024  # --builtin looks no further


def rows():
    with open(os.path.join(CORPUS, "corpus.jsonl"), encoding="utf-8") as f:
        return [row for row in map(json.loads, f) if row["transport"] == "tcp"]


def explain(row):
    path = os.path.join(CORPUS, row["file"])
    done = run_binary("explain", "--builtin", "--json", path)
    assert done.returncode == 0, "%s: %s" % (row["file"], done.err)
    return json.loads(done.out)


@pytest.fixture(scope="module")
def corpus():
    """(row, what explain says of it) for every TCP file."""
    chosen = rows()[::10] if SANITIZER else rows()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        return list(zip(chosen, pool.map(explain, chosen)))


def label(row):
    name = CALLED.get(row["protocol"], row["protocol"])
    return name if name in SHIPPED else None


def check_verdict(row, said):
    """What is wrong with the verdict, or None."""
    expect, name = row.get("expect"), label(row)
    found = said["protocol"] if said["verdict"] == "match" else None
    if expect and expect.split(":")[0] in ("need-more", "tolerant", "reject", "unknown"):
        allowed = {"need-more": {None, name}, "reject": {None}, "unknown": {None},
                   "tolerant": {None, CALLED.get(expect[9:], expect[9:])}}[expect.split(":")[0]]
        if expect == "need-more" and name and said["verdict"] == "none":
            return "a proper prefix was refused"
    elif expect and expect != row["protocol"]:
        allowed = {CALLED.get(expect, expect)}
    elif row["size"] == 0:
        allowed = {None}
    elif row["protocol"] == "unknown" or not name:
        allowed = {None}
    elif name == "ssh":
        allowed = {"ssh", "sftp"}
    elif row.get("client_waits"):
        allowed = {name, None}  # a multiplexer sees silence; these bytes came after the greeting
    else:
        allowed = {name}
    if row["file"] in SHARED:
        allowed = {SHARED[row["file"]]}
    if found not in allowed:
        return "%s is taken for %s, should be %s" % (row.get("expect", row["protocol"]), found, allowed)
    return None


def host_of(text):
    """A Host header or authority without its port."""
    end = text.rfind("]") + 1
    colon = text.find(":", end)
    return text if colon < 0 else text[:colon]


def check_facts(row, said):
    """What is wrong with the facts, or None. Only of what is recognised and must be."""
    expect, name, facts = row.get("expect"), label(row), said["facts"]
    if not name or said["verdict"] != "match" or (expect and expect != row["protocol"]):
        return None
    wants = {}
    if name == "tls":
        if "sni" in row:
            wants["sni"] = row["sni"]
        if row.get("alpn"):
            wants["alpn"] = row["alpn"]
    elif name == "http":
        if row.get("http_host"):
            wants["host"] = host_of(row["http_host"])
        if "http_method" in row:
            wants["method"] = row["http_method"]
    elif name == "ssh" and "ssh_software" in row:
        wants["software"] = row.get("parsed", {}).get("ssh_software", row["ssh_software"])
    elif name == "dns" and "dns_qname" in row:
        wants["qname"] = row["dns_qname"]
    for key, value in wants.items():
        got = facts.get(key)
        if key == "qname" and got and value:
            got, value = got.rstrip(".").lower(), value.rstrip(".").lower()
        if got != value:
            return "%s is %r, should be %r" % (key, got, value)
    return None


def complain(problems):
    assert not problems, "%d:\n%s" % (len(problems), "\n".join(problems))


@pytest.mark.sanitize
def test_every_file_is_taken_for_what_it_is(corpus):
    """Promise: what ships is recognised; what does not ship is not claimed; hostile files meet what they expect."""
    assert len(corpus) > 30
    complain(["%s: %s" % (row["file"], wrong) for row, said in corpus for wrong in [check_verdict(row, said)] if wrong])


@pytest.mark.sanitize
def test_every_fact_is_what_an_independent_parse_says(corpus):
    """Promise: SNI, ALPN, Host, method, software and query name are read rightly."""
    complain(["%s: %s" % (row["file"], wrong) for row, said in corpus for wrong in [check_facts(row, said)] if wrong])


def test_cut_as_the_client_cut_it_the_verdict_is_the_same(corpus):
    """Promise: the verdict does not depend on where the segments end."""
    chosen = [(row, said) for row, said in corpus
              if 1 < len(row.get("segments", [])) < 200 and sum(row["segments"]) == row["size"] <= PEEK]

    def again(row):
        path = os.path.join(CORPUS, row["file"])
        done = run_binary("explain", "--builtin", "--json", "--segments", ",".join(map(str, row["segments"])), path)
        assert done.returncode == 0, "%s: %s" % (row["file"], done.err)
        return json.loads(done.out)

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        cut = list(pool.map(again, [row for row, _ in chosen]))
    complain(["%s: %s instead of %s" % (row["file"], now["protocol"], was["protocol"])
              for (row, was), now in zip(chosen, cut)
              if (now["verdict"], now["protocol"], now["facts"]) != (was["verdict"], was["protocol"], was["facts"])])


@pytest.mark.sanitize
def test_live_connections_meet_what_explain_says(corpus, rx, backends):
    """Promise: explain and the live path are the same deciders; whoever takes a client gets every byte it said."""
    order = [tried["protocol"] for tried in json.loads(
        run_binary("explain", "--builtin", "--json", stdin=wire.GARBAGE).out)["tried"]]
    assert set(order) == SHIPPED | {"sftp"}
    takers = {name: backends(peers.collect) for name in (*order, "nobody")}
    p = rx("".join("{ rx[%r], to = %s }," % (name, takers[name].quoted) for name in order), workers=2,
           options='peek_buffer_size = "64k", peek_timeout = "10s", fallback_tcp = %s,' % takers["nobody"].quoted)
    problems, count = [], 0
    for row, said in corpus:
        if not 0 < row["size"] <= PEEK or (row["file"] in SHARED and not SHARED[row["file"]]):
            continue  # the latter are decided by the end of input, which explain does not assume
        with open(os.path.join(CORPUS, row["file"]), "rb") as f:
            data = f.read()
        taker = takers[said["protocol"] if said["verdict"] == "match" else "nobody"]
        with p.connect() as s:
            s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            at = 0
            for size in row.get("segments") or [len(data)]:
                s.sendall(data[at:at + size])
                at += size
            s.shutdown(socket.SHUT_WR)
            answer = peers.read_all(s)
        count += 1
        if answer != b"got %d" % len(data) or not taker.seen or taker.seen[-1] != data:
            problems.append("%s: not with %s (%r)" % (row["file"], said["protocol"], answer))
    complain(problems)
    assert {line["reason"] for line in p.access(count)} == {"done"}
    assert len(p.access_lines()) == count


# ---- datagrams

def flows():
    """(row of the first datagram, all its files in order) of every UDP flow."""
    found = {}
    with open(os.path.join(CORPUS, "corpus.jsonl"), encoding="utf-8") as f:
        for row in map(json.loads, f):
            if row["transport"] == "udp":
                name, _, number = row["file"].rpartition(".d")
                found.setdefault(name, {})[int(number)] = row
    return [(grams[0], [grams[n]["file"] for n in sorted(grams)]) for grams in found.values()]


def explain_flow(flow):
    row, files = flow
    done = run_binary("explain", "--udp", "--builtin", "--json", *[os.path.join(CORPUS, name) for name in files])
    assert done.returncode == 0, "%s: %s" % (row["file"], done.err)
    return json.loads(done.out)


@pytest.fixture(scope="module")
def datagrams():
    """(row, what explain says of it) for every UDP flow."""
    chosen = flows()[::10] if SANITIZER else flows()
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 2) as pool:
        return list(zip([row for row, _ in chosen], pool.map(explain_flow, chosen)))


def called(label):
    name = CALLED_UDP.get(label, label)
    return name if name in SHIPPED_UDP else None


def check_flow(row, said):
    """What is wrong with the verdict of a flow or with its facts, or None."""
    found = said["protocol"] if said["verdict"] == "match" else None
    name, facts = called(row["protocol"]), said["facts"]
    kind, _, of = row.get("expect", row["protocol"]).partition(":")
    if kind in ("unknown", "reject"):
        return "is taken for %s" % found if found else None
    if kind == "tolerant":
        if found not in (None, called(of)):
            return "is taken for %s" % found
        return "a name was read from what does not authenticate" if "tag-broken" in row["file"] and "sni" in facts else None
    if found != called(kind):
        return "%s is taken for %s" % (kind, found)
    if name in ("quic", "dtls") and "reserved" not in (row.get("quic_version") or ""):
        if "sni" in row and facts.get("sni") != row["sni"]:
            return "sni is %r, should be %r" % (facts.get("sni"), row["sni"])
        if row.get("alpn") and facts.get("alpn") != row["alpn"]:
            return "alpn is %r, should be %r" % (facts.get("alpn"), row["alpn"])
    if name == "dns" and row.get("dns_qname") and facts.get("qname", "").rstrip(".").lower() != \
            row["dns_qname"].rstrip(".").lower():
        return "qname is %r, should be %r" % (facts.get("qname"), row["dns_qname"])
    return None


@pytest.mark.sanitize
def test_every_flow_is_taken_for_what_it_is_and_its_facts_are_read(datagrams):
    """Promise: as over TCP, for the datagrams of a flow in order: verdict, SNI, ALPN, query name."""
    assert len(datagrams) > (5 if SANITIZER else 50)
    asked = {tried["protocol"] for _, said in datagrams for tried in said["tried"]}
    assert asked <= SHIPPED_UDP and (SANITIZER or asked == SHIPPED_UDP)
    complain(["%s: %s" % (row["file"], wrong) for row, said in datagrams for wrong in [check_flow(row, said)] if wrong])
