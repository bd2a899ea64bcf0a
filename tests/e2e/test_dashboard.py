# SPDX-License-Identifier: MIT
"""The dashboard and what it asks: every endpoint with curl or a plain client, the page in a real browser."""
import base64
import concurrent.futures
import contextlib
import hashlib
import http.client
import json
import os
import re
import shutil
import time
import urllib.parse

import pytest

import peers
import wire
from browser import Browser
from harness import PATIENCE, SANITIZER, make_config, run_client, wait_for
from test_metrics import http_port
from test_state import ask, reload, reloads

sanitize = pytest.mark.sanitize
METRICS = 'metrics = "127.0.0.1:0", '
EVIL = "<img src=x onerror=pwned=1>"
EVIL_SNI = "<svg><script>pwned"  # a name of a host cannot have spaces, or no route would see it
BYTES = {"Content-Type": "application/octet-stream"}


def request(p, path="/", method="GET", body=None, **headers):
    """(status, headers in lower case, body)"""
    link = http.client.HTTPConnection("127.0.0.1", http_port(p), timeout=30)
    try:
        link.request(method, path, body=body, headers={k.replace("_", "-"): v for k, v in headers.items()})
        answer = link.getresponse()
        return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read().decode()
    finally:
        link.close()


def get(p, path):
    status, _, text = request(p, path)
    assert status == 200, text
    return json.loads(text)


def explain(p, body, **arguments):
    status, _, text = request(p, "/explain?" + urllib.parse.urlencode(arguments), "POST", body, **BYTES)
    return json.loads(text) if status == 200 else (status, text)


# ---- what is served -------------------------------------------------------------------------------------------------

@sanitize
def test_every_answer_forbids_sniffing_storing_and_embedding(rx):
    """Promise: whatever is asked, the same headers; the page may run its own script and style and nothing else."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS)
    for path in ("/", "/metrics", "/status.json", "/flows.json", "/healthz", "/readyz", "/nothing", "/explain"):
        _, headers, _ = request(p, path)
        assert headers["x-content-type-options"] == "nosniff", path
        assert headers["cache-control"] == "no-store", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "frame-ancestors 'none'" in headers["content-security-policy"], path
    status, headers, page = request(p)
    assert status == 200 and headers["content-type"] == "text/html; charset=utf-8"
    script = re.search("<script>(.*)</script>", page, re.S).group(1).encode()
    digest = base64.b64encode(hashlib.sha256(script).digest()).decode()
    assert "script-src 'sha256-%s'" % digest in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert len(page) < 60 * 1024 and not re.search(r"(src|href)=\"?(https?:)?//", page)


@sanitize
def test_methods_that_change_things_are_refused(rx):
    """Promise: GET and HEAD, and POST for /explain alone."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS)
    for path in ("/", "/metrics", "/status.json", "/flows.json"):
        for method in ("POST", "PUT", "DELETE", "OPTIONS"):
            status, headers, _ = request(p, path, method, **BYTES)
            assert status == 405 and headers["allow"] == "GET, HEAD"
        status, headers, body = request(p, path, "HEAD")
        assert status == 200 and body == ""
    for method in ("GET", "PUT", "OPTIONS"):
        status, headers, _ = request(p, "/explain", method)
        assert status == 405 and headers["allow"] == "POST"


def test_curl_reads_every_page(rx, need):
    """Promise: what the guide's table lists is there for a real client."""
    curl = need("curl")
    p = rx("{ rx.http, to = rx.drop }", server=METRICS)
    for path in ("/", "/metrics", "/status.json", "/flows.json", "/healthz", "/readyz"):
        done = run_client([curl, "-sf", "-m", 10, "http://localhost:%d%s" % (http_port(p), path)])
        assert done.stdout
    done = run_client([curl, "-sf", "-m", 10, "-H", "Content-Type: application/octet-stream", "--data-binary", "@-",
                       "http://127.0.0.1:%d/explain" % http_port(p)], stdin=None, input=wire.get())
    assert json.loads(done.stdout)["route"] == "http"


@sanitize
def test_a_strange_name_is_refused(rx):
    """Promise: DNS rebinding finds nothing: only addresses, localhost and the configured names are answered."""
    config = make_config("{ rx.http, to = rx.drop }", server=METRICS + 'metrics_host = { "Proxy.lan", "b.test" },')
    p = rx.config(config)
    for host, status in (("evil.test", 403), ("evil.test:9180", 403), ("127.0.0.1.evil.test", 403), ("c.test", 403),
                         ("proxy.LAN:80", 200), ("b.test", 200), ("[::1]:1", 200), ("localhost:1", 200)):
        for path in ("/", "/status.json", "/metrics", "/flows.json"):
            assert request(p, path, Host=host)[0] == status, (host, path)
        assert request(p, "/healthz", Host=host)[0] == 200
        assert request(p, "/explain", "POST", b"x", Host=host, **BYTES)[0] == status
    reload(p, config.replace('"b.test"', '"c.test"'))
    assert reloads(p) == 1
    assert request(p, "/", Host="c.test")[0] == 200 and request(p, "/", Host="b.test")[0] == 403


@sanitize
def test_the_token_guards_the_dashboard_too(rx):
    """Promise: with metrics_token nothing but health is read without it; a browser may give it as a password."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS + 'metrics_token = "s3cret",')
    basic = "Basic " + base64.b64encode(b"me:s3cret").decode()
    wrong = "Basic " + base64.b64encode(b"me:wrong").decode()
    for path in ("/", "/metrics", "/status.json", "/flows.json", "/nothing"):
        status, headers, _ = request(p, path)
        assert status == 401 and "Basic" in headers["www-authenticate"]
        assert request(p, path, Authorization=wrong)[0] == 401
        for good in (basic, "Bearer s3cret"):
            assert request(p, path, Authorization=good)[0] == (404 if path == "/nothing" else 200)
    assert request(p, "/explain", "POST", b"x", **BYTES)[0] == 401
    assert request(p, "/explain", "POST", b"x", Authorization=basic, **BYTES)[0] == 200
    assert request(p, "/healthz")[0] == 200


# ---- connections ------------------------------------------------------------------------------------------------------

@sanitize
def test_the_busiest_connections_are_listed_over_all_workers(rx, backends):
    """Promise: flows.json has every connection there is, by what was asked for, and filters escaped text."""
    p = rx("{ rx.ssh, to = %s, name = 'sh&ell 100%%' }" % backends().quoted, server=METRICS, workers=2)
    assert get(p, "/flows.json")["flows"] == []
    with contextlib.ExitStack() as stack:
        for i in range(8):
            s = stack.enter_context(p.connect())
            s.sendall(wire.SSH + b"x" * 100 * i)
        wait_for(lambda: [f["bytes_out"] == f["bytes_in"] > 0 for f in get(p, "/flows.json")["flows"]] == [True] * 8,
                 what="eight flows, echoed")
        top = get(p, "/flows.json?sort=bytes&limit=3")
        assert [f["bytes_in"] for f in top["flows"]] == [len(wire.SSH) + 100 * i for i in (7, 6, 5)] and top["matching"] == 8
        assert top["flows"][0]["route"] == "sh&ell 100%"
        filtered = "/flows.json?filter="
        assert len(get(p, filtered + urllib.parse.quote("h&ell 100%"))["flows"]) == 8
        assert get(p, filtered + urllib.parse.quote("h&ell 100%x"))["flows"] == []
        assert get(p, filtered + urllib.parse.quote(EVIL))["matching"] == 0
        assert get(p, "/flows.json?limit=500&sort=age")["totals"]["active"] == 8
    for bad in ("sort=x", "limit=0", "limit=501", "limit=", "limit=-1", "limit=5x", "filter=" + "x" * 64):
        assert request(p, "/flows.json?" + bad)[0] == 400, bad
    assert request(p, "/flows.json?filter=" + "x" * 63)[0] == 200


@sanitize
def test_many_ask_at_once_and_some_leave_before_the_answer(rx):
    """Promise: each gets its answer or is told that it is busy; who leaves harms nobody, nor does stopping meanwhile."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS, workers=2)

    def one(i):
        if i % 3:
            return request(p, "/flows.json?limit=500")[0]
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", http_port(p), timeout=30)) as link:
            link.request("GET", "/flows.json")
        return 200

    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        seen = set(pool.map(one, range(300)))
    assert 200 in seen and seen <= {200, 503}
    assert get(p, "/flows.json")["flows"] == []
    links = [http.client.HTTPConnection("127.0.0.1", http_port(p), timeout=30) for _ in range(20)]
    for link in links:
        link.request("GET", "/flows.json")
    p.stop()
    for link in links:
        link.close()


# ---- explain ----------------------------------------------------------------------------------------------------------

@sanitize
def test_explain_says_what_the_running_config_does(rx, backends):
    """Promise: the same object as `explain --json`, of the generation that is served, after a reload of the new one."""
    config = make_config('{ rx.tls, sni = "a.test", to = rx.drop, name = "mine" }, { rx.http, to = %s, name = "web" }'
                         % backends().quoted, server=METRICS)
    p = rx.config(config)
    x = explain(p, wire.get(host="h.test"))
    assert (x["verdict"], x["route"], x["facts"]["host"]) == ("match", "web", "h.test") and x["backend"]
    assert explain(p, wire.hello("a.test"))["route"] == "mine"
    x = explain(p, wire.hello(EVIL_SNI, alpn=(EVIL,)))
    assert x["facts"]["sni"] == EVIL_SNI and x["facts"]["alpn"] == [EVIL]
    assert x["routes"][0]["conditions"][0]["saw"] == EVIL_SNI
    assert explain(p, b"GE")["verdict"] == "need_more"
    assert explain(p, b"")["verdict"] == "need_more"
    assert explain(p, wire.get(), transport="udp")["transport"] == "udp"
    reload(p, config.replace('"web"', '"net"'))
    assert reloads(p) == 1
    assert explain(p, wire.get())["route"] == "net"
    assert p.access_lines() == [] and get(p, "/status.json")["totals"]["accepted"] == 0


@sanitize
def test_explain_refuses_what_it_cannot_take(rx):
    """Promise: other types (which a stranger's page could send), too much, and wrong arguments have their words."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS)
    assert request(p, "/explain", "POST", b"x")[0] == 415
    assert request(p, "/explain", "POST", b"x", Content_Type="text/plain")[0] == 415
    assert request(p, "/explain", "POST", b"x", Content_Type="application/octet-streamx")[0] == 415
    assert request(p, "/explain", "POST", b"x" * 16385, **BYTES)[0] == 413
    assert explain(p, b"x" * 16384)["verdict"] == "none"
    assert explain(p, b"x", listener="1.2.3.4:5")[0] == 400 and "no listener" in explain(p, b"x", listener="1.2.3.4:5")[1]
    assert explain(p, b"x", **{"from": "nobody"})[0] == 400
    assert explain(p, b"x", transport="sctp")[0] == 400
    assert explain(p, b"\xff" * 100, listener="", **{"from": ""})["verdict"] == "none"
    with contextlib.suppress(ConnectionError, http.client.HTTPException):  # it does not say how long
        link = http.client.HTTPConnection("127.0.0.1", http_port(p), timeout=30)
        link.request("POST", "/explain", body=iter([b"x" * 1000] * 100), headers=BYTES, encode_chunked=True)
        assert link.getresponse().status != 200
    assert request(p, "/healthz")[0] == 200


FUNCTIONS = """{ rx.http, when = function(conn)
                   if conn.path == "/err" then error "mine" end
                   if conn.path == "/loop" then while true do end end
                   if conn.path == "/ban" then rx.ban("192.0.2.0/24", "1h") hits:inc() rx.log.warn "said" end
                   return true end, to = rx.respond "x", name = "web" }"""


@sanitize
def test_explain_leaves_no_trace_of_functions(rx):
    """Promise: a function that fails or runs away while it is explained is neither counted nor quarantined, bans
    nobody, logs nothing; and all of it together takes a bounded time."""
    p = rx(FUNCTIONS, prelude='local hits = rx.counter "hits_total" {}', server=METRICS)
    x = explain(p, wire.get(path="/err"))
    assert x["verdict"] == "none" and "mine" in x["routes"][0]["when"]["error"]
    start = time.monotonic()
    x = explain(p, wire.get(path="/loop"))
    assert x["verdict"] == "none" and time.monotonic() - start < (2 if not SANITIZER else 10)
    assert explain(p, wire.get(path="/ban"))["route"] == "web"
    s = get(p, "/status.json")
    assert s["scripts"][0]["errors"] == 0 and not s["scripts"][0]["quarantined"] and s["scripts"][0]["last_error"] is None
    assert s["bans"]["added"] == 0 and "\nhits_total 0" in request(p, "/metrics")[2]
    assert "said" not in p.errors() and "mine" not in p.errors()
    assert ask(p, wire.get()) == "x"
    ask(p, wire.get(path="/err"))
    s = get(p, "/status.json")["scripts"][0]
    assert s["errors"] == 1 and s["last_error"].endswith("mine") and abs(s["last_error_ms"] / 1000 - time.time()) < 60
    ask(p, wire.get(path="/loop"))
    assert get(p, "/status.json")["scripts"][0]["quarantined"]
    assert explain(p, wire.get())["verdict"] == "none"


# ---- what status.json has for it ------------------------------------------------------------------------------------------

@sanitize
def test_ends_are_told_by_route_and_reason(rx, backends):
    """Promise: each route, and those no route took, with how many ended why."""
    p = rx('{ rx.http, to = %s, name = "web" }, { rx.ssh, to = "127.0.0.1:1", name = "dead" }'
           % backends(peers.named("hello")).quoted, server=METRICS)
    ask(p, wire.get())
    ask(p, wire.SSH)
    ask(p, b"\0\0nothing")

    def closed():
        listener = get(p, "/status.json")["listeners"][0]
        return [r["closed"] for r in listener["routes"]] + [listener["unrouted"]["closed"]]

    wait_for(lambda: sum(sum(c.values()) for c in closed()) == 3, what="three ends")
    web, dead, none = closed()
    assert list(web.values()) == [1] and dead == {"backend_down": 1} and none == {"no_route": 1}


@sanitize
def test_a_trial_is_shown_while_it_lasts(rx):
    """Promise: canary is null, or the generation on trial with its share, its time and both sides' counts."""
    config = make_config('{ rx.http, to = rx.respond "old" }', server=METRICS + 'canary = { share = "50%", watch = "60s" },')
    p = rx.config(config)
    assert get(p, "/status.json")["canary"] is None
    reload(p, config.replace("old", "new"))
    c = wait_for(lambda: get(p, "/status.json")["canary"], what="the trial")
    assert c["generation"] == 2 and c["share_ppm"] == 500000 and 0 < c["left_ms"] <= 60000
    for _ in range(20):
        ask(p, wire.get())
    c = get(p, "/status.json")["canary"]
    assert c["running"]["unidentified"]["of"] + c["trial"]["unidentified"]["of"] == 20
    assert c["trial"]["unidentified"] == {"of": 10, "n": 0}


# ---- in a browser ----------------------------------------------------------------------------------------------------------

@pytest.fixture
def browser(workdir):
    program = shutil.which("chromium") or shutil.which("google-chrome")
    if not program:
        pytest.skip("chromium is not installed (it is large: packaging/deps.sh leaves it out)")
    b = Browser(program, os.path.join(workdir, "profile"))
    yield b
    b.close()


def url(p, path="/"):
    return "http://127.0.0.1:%d%s" % (http_port(p), path)


def test_the_page_shows_routes_and_backends_under_traffic(rx, backends, browser):
    """Promise: rates, backends, connections, failing functions and reloads appear by themselves, without a complaint."""
    config = make_config("""{ rx.http, when = function(c) if c.path == "/err" then error "mine" end return true end,
                              to = "app", name = "web" }, { rx.ssh, to = "app", name = "shell" },
                            { rx.redis, to = "sick" }""",
                         prelude='rx.pool "app" { %s, "127.0.0.1:1", eject_after = 1 } ' % backends().quoted
                         + 'rx.pool "sick" { "127.0.0.1:2", health = { check = "tcp", every = "1s" } }', server=METRICS)
    p = rx.config(config)
    browser.dress(1280, 900)
    browser.open(url(p))
    browser.wait("document.getElementById('state').textContent === 'live'")
    with p.connect() as inside:
        inside.sendall(wire.SSH)
        end = time.monotonic() + 4
        while time.monotonic() < end:
            with p.connect() as s:
                s.sendall(wire.get())
                s.recv(10)
            inside.sendall(b"x" * 1000)
            time.sleep(0.02)
        ask(p, wire.get(path="/err"))
        browser.wait("document.querySelector('#flows').innerText.includes('shell')")
        assert re.search(r"[1-9]", browser.text("#t-new")) and browser.text("#t-in").endswith("B/s")
        assert browser.wait("document.querySelector('#c-conns g path').getAttribute('d').length > 10")
        assert browser.wait("document.querySelectorAll('#c-ends g path').length > 0")
        routes = browser.text("#routes")
        assert "web" in routes and "shell" in routes
        browser.wait("document.querySelector('#backends').innerText.includes('ejected')")
        sick = browser.wait("[...document.querySelectorAll('#backends tr')].map(r => r.innerText).find(t => t.includes('127.0.0.1:2'))")
        assert "down" in sick and "refused" in sick
        browser.wait("document.querySelector('#functions').innerText.includes('mine')")
        browser.eval("document.getElementById('filter').value = 'nobody'; document.getElementById('filter').oninput()")
        browser.wait("document.querySelector('#flows').innerText.includes('no connection matches')")
        browser.eval("document.querySelector('#routes tr.pick').click()")
        assert "web" in browser.eval("document.getElementById('route').value")
    reload(p, config.replace('name = "web"', 'name = "net"'))
    assert reloads(p) == 1
    browser.wait("document.querySelector('#reloads').innerText.includes('+net')")
    p.write_config("nonsense(")
    browser.wait("document.querySelector('#reloads').innerText.includes('refused')")
    p.write_config(config)
    assert browser.complaints == []
    p.stop()
    browser.wait("document.getElementById('state').textContent.startsWith('not reached')")


def test_the_page_suits_phones_and_both_colour_schemes(rx, browser, backends):
    """Promise: nothing sticks out at 390 pixels, dark is dark and light is light, and drawing moves nothing about."""
    p = rx("{ rx.http, to = %s, name = '%s' }" % (backends().quoted, "a-name-without-any-break-" * 3), server=METRICS)
    ask(p, wire.get())
    pictures = set()
    for width, scheme in ((1280, "light"), (1280, "dark"), (390, "light"), (390, "dark"), (320, "dark")):
        browser.dress(width, 900, scheme)
        browser.open(url(p, "/?" + scheme + str(width)))
        browser.wait("document.getElementById('state').textContent === 'live'")
        assert browser.eval("document.documentElement.scrollWidth") <= width
        red = browser.eval("+getComputedStyle(document.body).backgroundColor.match(/\\d+/)[0]")
        assert red < 60 if scheme == "dark" else red > 200
        columns = browser.eval("new Set([...document.querySelectorAll('.grid > .card')].map(c => c.offsetLeft)).size")
        assert columns == (1 if width < 700 else 2)
        picture = browser.picture()
        assert picture[:4] == b"\x89PNG"
        pictures.add(picture)
    assert len(pictures) == 5 and browser.complaints == []


def test_a_fresh_start_has_nothing_to_show_and_shows_it(rx, browser):
    """Promise: without any data the page is whole, and its first answers hardly move it."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS)
    browser.dress(1280, 900)
    browser.open(url(p))
    browser.wait("document.getElementById('state').textContent === 'live'")
    for words in ("no route leads to a backend", "the config has no functions", "no connection now", "nobody is banned",
                  "not reloaded since the start", "no config is on trial"):
        assert words in browser.text(), words
    time.sleep(1.5)
    shift = browser.eval("""new Promise(done => { let sum = 0; new PerformanceObserver(list => {
        for (const e of list.getEntries()) sum += e.value; }).observe({ type: "layout-shift", buffered: true });
        setTimeout(() => done(sum), 300); })""")
    assert shift < 0.1 and browser.complaints == []


def test_markup_in_names_and_bytes_stays_text(rx, browser, backends):
    """Promise: what peers and the config write never becomes markup: names of routes, SNI, errors, filters, bytes."""
    name = "<script>pwned=1</script>" + EVIL
    p = rx("{ rx.tls, sni = 'a.test', when = function(c) error '%s' end, to = rx.drop, name = '%s' }, "
           "{ rx.http, to = rx.drop }, { rx.any, to = %s, name = '%s2' }" % (EVIL, name, backends().quoted, name), server=METRICS)
    with p.connect() as s:
        s.sendall(wire.hello("a.test"))
        s.recv(10)
    browser.dress(1280, 900)
    browser.open(url(p))
    with p.connect() as inside:
        inside.sendall(wire.hello(EVIL_SNI, alpn=(EVIL,)))
        browser.wait("document.querySelector('#flows').innerText.includes('pwned=1')")
        browser.wait("document.querySelector('#functions').innerText.includes('onerror')")
        for text, form in ((wire.hello(EVIL_SNI, alpn=(EVIL,)).hex(), "hex"), ("GET /%s HTTP/1.1\nHost: %s\n\n" % (EVIL.replace(" ", ""), EVIL), "text")):
            browser.eval("""document.getElementById('xbytes').value = %s; document.getElementById('xas').value = '%s';
                            document.getElementById('xout').replaceChildren();
                            document.getElementById('xform').requestSubmit()""" % (json.dumps(text), form))
            said = browser.wait("document.querySelector('#xout').innerText")
            assert (EVIL if form == "hex" else EVIL.replace(" ", "")) in said and (form == "text" or EVIL_SNI in said)
        browser.eval("document.getElementById('filter').value = %s; document.getElementById('filter').oninput()" % json.dumps(EVIL))
        browser.wait("document.querySelector('#flows').innerText.includes('pwned')")
    assert browser.eval("typeof pwned") == "undefined"
    assert browser.eval("document.scripts.length") == 1 and browser.eval("document.images.length") == 0
    assert browser.complaints == []


def test_a_browser_with_the_password_sees_it(rx, browser):
    """Promise: with a token the page works for who typed it as the password."""
    p = rx("{ rx.http, to = rx.drop }", server=METRICS + 'metrics_token = "s3cret",')
    browser.dress(1280, 900)
    browser.open("http://me:s3cret@127.0.0.1:%d/" % http_port(p))
    browser.wait("document.getElementById('state').textContent === 'live'", PATIENCE)
    assert browser.complaints == []
