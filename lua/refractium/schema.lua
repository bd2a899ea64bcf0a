-- SPDX-License-Identifier: MIT
-- Every option a config may hold, one row each: name, type, default, range, doc.
-- Validation (check.lua), the reference page and the editor annotations (docgen.lua) all come from these rows;
-- to add an option, add a row here, its place in build.lua, and run the generator.
--
-- Types are explained in kinds.lua. A default is written as the user would write it. `min` and `max` likewise.

local M = {}

local function section(s)
  s.by_name = {}
  for i = 1, #s do
    s.by_name[s[i].name] = s[i]
  end
  s.not_yet = {}
  for i = 1, #(s.unavailable or {}) do
    s.not_yet[s.unavailable[i]] = true
  end
  return s
end

local FALLBACK_TCP = "Where TCP connections go that no route takes. Without one they are dropped, counted and logged."
local FALLBACK_UDP = "Where datagrams go that no route takes."

-- What hooks are made of; a listener or a route may carry them as keys of its own.
local ON_OPEN = { name = "on_open", type = "func", args = "conn: rx.Conn", returns = "any",
  doc = "`function(conn)`, told of a connection that has reached its backend, or that the program answers itself." }
local ON_DATA = { name = "on_data", type = "func", returns = "any",
  args = 'conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf',
  doc = "`function(conn, direction, buf)`, shown a copy of the bytes that pass, in order; `direction` is"
    .. ' `"to_server"` or `"to_client"`. The flow never waits for it: what it is too slow for is lost to it, and'
    .. " counted in `conn.lost`." }
local ON_CLOSE = { name = "on_close", type = "func", args = "conn: rx.Conn, why: string", returns = "any",
  doc = "`function(conn, why)`, told that a connection has ended, with the access log's word. Every connection"
    .. " that `on_open` was told of gets it once." }
local FILTER = { name = "filter", type = "func",
  args = 'conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf', returns = "string|rx.Action|nil",
  doc = "`function(conn, direction, buf)` in the flow, in the worker: nil passes the bytes on, a string (which may be"
    .. " empty) goes on in their place, `rx.refuse` resets both sides; so does a function that fails." }

local KEEPALIVE = { name = "keepalive", type = "duration", min = "1s", max = "9h", default_text = "none",
  doc = "After so long without a byte the kernel asks whether the other side is still there, and again after as long;"
    .. " three questions without an answer end the connection." }
local USER_TIMEOUT = { name = "user_timeout", type = "duration", min = "10ms", max = "9h",
  default_text = "the system's",
  doc = "How long what was sent may stay unacknowledged before the connection is closed." }

local SEND_PROXY = { name = "send_proxy", type = "send_proxy", default_text = "none",
  doc = "Tell backends who the client is, in a PROXY header before its first byte: `\"v1\"`, `\"v2\"`, or a table, as"
    .. " in `{ version = \"v2\", unique_id = true }`." }

M.server = section {
  verb = "rx.server { ... }",
  doc = "What concerns the whole process. May be left out; may stand once.",
  unavailable = {
    "trusted_scripts",
  },
  { name = "user", type = "label", default_text = "whoever starts it",
    doc = "The user that the program becomes before it opens or binds anything, when root starts it: a name or a"
      .. " number. It keeps the right to listen on ports below 1024." },
  { name = "group", type = "label", default_text = "the user's", doc = "The group it becomes with that." },
  { name = "chroot", type = "label", default_text = "none",
    doc = "The directory that becomes the program's root, when root starts it and `user` is given. Whatever it opens"
      .. " later must be inside: logs, sockets, and the config, for reloads." },
  { name = "sandbox", type = "sandbox", default = true,
    doc = "`true`: once it serves, the program can ask the kernel for nothing that a multiplexer has no use for, and"
      .. " start no programs but the system's and those beside its own. `\"strict\"`: it can also write only in the"
      .. " directories of the files and sockets that this config names, not those of later edits, and read only there,"
      .. " where the config is, and in the system's. `false`: none of this." },
  { name = "workers", type = "workers", default = "auto", min = 1, max = 1024,
    doc = 'Worker threads; `"auto"` is one per core.' },
  { name = "max_connections", type = "count", default = 10000, min = 1, max = 10000000,
    doc = "Connections at one time, all listeners together." },
  { name = "max_sessions", type = "count", default = 65536, min = 1, max = 10000000,
    doc = "UDP flows at one time, all listeners together: a flow is what one client address and port says to one of"
      .. " ours." },
  { name = "connection_rate", type = "rate", min = 1, max = 1000000, default_text = "no limit",
    doc = "New connections, all listeners together: `\"1000/s\"`, `/m`, `/h`, or `{ \"1000/s\", burst = 2000 }`."
      .. " `burst` is how many may come at once; without it as many as the rate says." },
  { name = "rate_per_ip", type = "rate", min = 1, max = 1000000, default_text = "no limit",
    doc = "New connections of one client address, all listeners together, written like `connection_rate`. UDP flows"
      .. " count as well." },
  { name = "over_limit", type = "over_limit", default_text = "`rx.refuse`",
    doc = "What becomes of connections that a limit or a rate keeps out: `rx.refuse`, `rx.drop`, or `rx.tarpit`, which"
      .. " holds at most 256 of them for each worker, for 30 seconds at most." },
  { name = "hot_reload", type = "boolean", default = true,
    doc = "Watch the config file and take an edit that validates and passes its tests; SIGHUP reloads in any case." },
  { name = "canary", type = "canary", default_text = "`false`",
    doc = "`{ share = \"5%\", watch = \"30s\" }`: a new config first gets a share of new connections, and goes again"
      .. " by itself when it does worse than the running one. `false`: it gets all of them at once." },
  { name = "drain_timeout", type = "duration", default = "30s", min = "0ms", max = "1d",
    doc = "How long connections may finish after SIGTERM." },
  { name = "upgrade_timeout", type = "duration", default = "30s", min = "100ms", max = "1h",
    doc = "How long a new binary may take until it can serve (`refractium upgrade`, SIGUSR2)." },
  { name = "metrics", type = "http_address", default_text = "none",
    doc = 'Where the dashboard (`/`), `/metrics` (Prometheus), `/status.json`, `/healthz` and `/readyz` are served:'
      .. ' `"127.0.0.1:9180"`.' },
  { name = "metrics_host", type = "hosts", default_text = "none",
    doc = "Names under which that port may be asked, beside `localhost` and IP addresses: one or a list. Others are"
      .. " refused, so that no web site can read it through its visitors' browsers (DNS rebinding)." },
  { name = "metrics_token", type = "token", default_text = "none",
    doc = "Who reads anything there but `/healthz` and `/readyz` must send `Authorization: Bearer` with this, or"
      .. " `Basic` with this as the password, as browsers do." },
  { name = "admin", type = "admin", default_text = "named after the first listener's port",
    doc = "The unix socket that `refractium status`, `top` and the like talk to: its path, or `false` for none. Without"
      .. " it the socket is PORT.sock under `$XDG_RUNTIME_DIR/refractium`, or `/run/refractium`." },
  { name = "script_budget", type = "duration", default = "50ms", min = "1ms", max = "10s",
    doc = "How long one call of a function of the config may take. One that takes longer is stopped and not called"
      .. " again until the next good reload." },
  { name = "access_log", type = "access_log", default_text = "on when standard output is a terminal",
    doc = "One line per connection with the reason it ended: `true` (to standard output), `false`, `\"journal\"`,"
      .. " `\"syslog\"`, or a file's path." },
  { name = "access_log_sample", type = "percent", default = "100%", min = "0.0001%", max = "100%",
    doc = "How many of the connections have a line." },
  { name = "log", type = "log", default = "stderr",
    doc = "Where messages go: `\"stderr\"`, `\"journal\"`, `\"syslog\"`, or a file's path. What cannot go there goes"
      .. " to standard error." },
  { name = "log_format", type = "choice", values = { "auto", "text", "json" }, default = "auto",
    doc = '`"auto"` is coloured text on a terminal and plain text for the journal elsewhere.' },
  { name = "record", type = "record", default_text = "off",
    doc = "Keep first bytes of clients and what was decided in a file, for `refractium replay`; see below." },
  { name = "store", type = "store", default_text = "none: they live in this process",
    doc = "A Redis through which several nodes share every `rx.sessions` and the list of bans:"
      .. ' `"redis://[user:password@]host[:port][/db]"` or `"unix:/path"`. While it is away each node goes on alone.' },
  { name = "resolver", type = "servers", default_text = "the system's, /etc/resolv.conf",
    doc = "DNS servers for the names in pools: an IP address with or without a port, as in `\"127.0.0.1:5353\"`, or a"
      .. " list. /etc/hosts comes first in any case." },
  { name = "fallback_tcp", type = "target", default_text = "drop",
    doc = FALLBACK_TCP .. " A listener's own comes first." },
  { name = "fallback_udp", type = "target", default_text = "drop", doc = FALLBACK_UDP },
  { name = "hooks", type = "hooks", doc = "What `rx.hook` returned, for the connections of every listener: a list." },
}

M.canary = section {
  verb = "`canary` in rx.server",
  doc = "A new config is tried on a share of new connections first.",
  { name = "share", type = "percent", default = "5%", min = "0.1%", max = "50%",
    doc = "How many of the new connections it gets." },
  { name = "watch", type = "duration", default = "30s", min = "1s", max = "1d",
    doc = "How long; then it gets all of them, unless it did worse than the running one." },
}

M.record = section {
  verb = "`record` in rx.server",
  doc = "What is kept of live traffic. The file holds what clients say, passwords in clear text among it: it is made"
    .. " for its owner alone, and should not stay longer than it is needed.",
  { name = "file", type = "string", required = true, doc = "Where. One that is there already is added to." },
  { name = "max_size", type = "size", default = "64m", min = "4k", max = "1024g",
    doc = "How large it may become; then recording ends." },
  { name = "sample", type = "percent", default = "100%", min = "0.0001%", max = "100%",
    doc = "How many of the decisions are kept." },
  { name = "bytes", type = "size", default = "4k", min = "1b", max = "48k",
    doc = "How many first bytes of each." },
}

M.listen = section {
  verb = "rx.listen ADDRESS { ... }",
  doc = 'Where clients knock: `"A.B.C.D:P"`, `"[::]:P"`, `"*:P"` (both families), `"unix:/path"`, `"systemd:NAME"`'
    .. " (a socket that systemd opened and passed), or a list of these."
    .. " P may be a range, as in `8000-8010`.",
  unavailable = {
    "sessions", "transparent", "during", "when",
  },
  { name = "routes", type = "routes", default_text = "none",
    doc = "Who goes where: the first route whose protocol and conditions hold takes the connection." },
  { name = "fallback_tcp", type = "target", default_text = "the server's", doc = FALLBACK_TCP },
  { name = "fallback_udp", type = "target", default_text = "the server's", doc = FALLBACK_UDP },
  { name = "max_connections", type = "count", min = 1, max = 10000000, default_text = "the server's",
    doc = "Connections to this listener at one time." },
  { name = "max_connections_per_ip", type = "count", min = 1, max = 10000000, default_text = "no limit",
    doc = "Connections of one client address at one time. Mind clients behind one NAT or proxy." },
  { name = "max_sessions", type = "count", min = 1, max = 10000000, default_text = "the server's",
    doc = "UDP flows of this listener at one time." },
  { name = "max_sessions_per_ip", type = "count", min = 1, max = 10000000, default_text = "no limit",
    doc = "UDP flows of one client address at one time." },
  { name = "udp_idle_timeout", type = "duration", default = "60s", min = "1s", max = "1d",
    doc = "A UDP flow with no datagram in either direction for so long is forgotten; a route's `idle_timeout` overrides"
      .. " it. DNS waits 10 s at most." },
  { name = "ipv6_prefix", type = "count", default = 64, min = 1, max = 128,
    doc = "How many leading bits make one client when IPv6 addresses are counted." },
  { name = "peek_timeout", type = "duration", default = "3s", min = "10ms", max = "10m",
    doc = "How long a client may take to say who it is; after that it is `rx.silent`, then the fallback." },
  { name = "peek_buffer_size", type = "size", default = "16k", min = "64b", max = "1m",
    doc = "At most so many first bytes are kept for recognition. A ceiling: a connection uses what it needs." },
  { name = "proxy_protocol", type = "proxy_protocol", default_text = "none",
    doc = "Which clients are proxies that tell by a PROXY header whose connections they pass on:"
      .. " `{ from = { \"10.0.0.0/8\" } }`. From these a header is required, from others it is nothing special." },
  { name = "backlog", type = "count", min = 1, max = 65535, default_text = "as many as the system allows",
    doc = "Connections that may wait to be accepted, in each worker's queue; net.core.somaxconn is a ceiling." },
  { name = "fast_open", type = "count", min = 1, max = 65535, default_text = "none",
    doc = "Clients may send their first bytes with the packet that opens the connection (TCP fast open); at most so"
      .. " many may be on their way. The system must allow it: net.ipv4.tcp_fastopen." },
  KEEPALIVE, USER_TIMEOUT,
  { name = "congestion", type = "short_name", default_text = "the system's",
    doc = "The congestion control towards clients, as in `\"bbr\"`." },
  { name = "mark", type = "count", min = 1, max = 4294967295, default_text = "none",
    doc = "The mark of packets to clients, for rules of routing and firewalls. Needs CAP_NET_ADMIN." },
  { name = "interface", type = "short_name", default_text = "any",
    doc = "The network interface that clients come by; who comes by another is not heard." },
  { name = "max_pending", type = "count", min = 1, max = 10000000, default_text = "no limit",
    doc = "Connections that are not recognised yet at one time." },
  { name = "connection_rate", type = "rate", min = 1, max = 1000000, default_text = "no limit",
    doc = "New connections: `\"1000/s\"`, `/m`, `/h`, or `{ \"1000/s\", burst = 2000 }`. `burst` is how many may"
      .. " come at once; without it as many as the rate says." },
  { name = "rate_per_ip", type = "rate", min = 1, max = 1000000, default_text = "no limit",
    doc = "New connections of one client address, written like `connection_rate`. UDP flows count as well." },
  { name = "over_limit", type = "over_limit", default_text = "the server's",
    doc = "What becomes of connections that a limit or a rate keeps out: `rx.refuse`, `rx.drop`, or `rx.tarpit`, which"
      .. " holds at most 256 of them for each worker, for 30 seconds at most." },
  { name = "identify", type = "func", args = "buf: rx.Buf",
    returns = "rx.Protocol|rx.Pool|rx.Action|rx.More|string|integer|nil, string?",
    doc = "`function(buf)`, asked before the routes: a protocol or its name (the routes of that protocol are tried),"
      .. " a pool, an address, an action or a port of 127.0.0.1 (it goes there), `rx.more`, or nothing (the routes"
      .. " decide, as when it fails)." },
  { name = "on_accept", type = "func", args = "conn: rx.Conn", returns = "rx.Action?",
    doc = "`function(conn)`, called for every connection before its first byte; `rx.refuse` turns it away, anything"
      .. " else lets it in. A function that fails turns it away too." },
  { name = "hooks", type = "hooks", doc = "What `rx.hook` returned, for the connections of this listener: a list." },
  ON_OPEN, ON_DATA, ON_CLOSE, FILTER,
  { name = "connect_timeout", type = "duration", default = "5s", min = "10ms", max = "10m",
    doc = "How long connecting may take, all backends that are tried together." },
  { name = "idle_timeout", type = "duration", default = "1h", min = "100ms", max = "30d",
    doc = "A connection with no byte in either direction for so long is closed." },
}

M.proxy_protocol = section {
  verb = "`proxy_protocol` in rx.listen",
  doc = "Who must send a PROXY header (version 1 or 2) before anything else. The client's address it names is the one"
    .. " that conditions, limits, bans and logs go by.",
  { name = "from", type = "proxies", required = true,
    doc = "The proxies' addresses or blocks, or `\"unix\"` for whoever comes to a unix socket: one, or a list." },
}

M.send_proxy = section {
  verb = "`send_proxy` as a table",
  doc = "What a PROXY header for backends says.",
  { name = "version", type = "choice", values = { "v1", "v2" }, default = "v2",
    doc = "1 is a line of text with the addresses, 2 is binary and also has the name and the protocol a TLS client asks"
      .. " for." },
  { name = "unique_id", type = "boolean", default = false,
    doc = "Version 2: say the connection's id, as the access log has it; or the one it came with." },
  { name = "crc32c", type = "boolean", default = false, doc = "Version 2: add a checksum." },
}

M.protocol = section {
  verb = "rx.protocol NAME { ... }",
  doc = "A protocol of your own, told by its first bytes. Returns a value for routes.",
  unavailable = { "needs", "priority" },
  { name = "transport", type = "choice", values = { "tcp", "udp", "both" }, default = "both",
    doc = "Where it is looked for." },
  { name = "prefix", type = "bytes", doc = "What it starts with: a string, or a list of which one must fit." },
  { name = "patterns", type = "bytes",
    doc = "Bytes anywhere in the first `within` bytes: a string, or a list of which one must occur. With `prefix`"
      .. " given as well, either is enough." },
  { name = "within", type = "size", default = "1k", min = "1b", max = "64k",
    doc = "How far `patterns` are looked for." },
  { name = "identify", type = "func", args = "buf: rx.Buf", returns = "boolean|rx.More|nil, string?",
    doc = "`function(buf)` that looks at the first bytes: `true` is a match (with a second value, the connection's"
      .. " `key`), `false` or nothing is none, `rx.more` asks again when there are more bytes. Given `prefix`, it is"
      .. " asked only where one of these is there." },
  { name = "first", type = "first_bytes",
    doc = "Bytes that `identify` is asked about when a client begins with one: a byte such as `\"G\"`, a range such as"
      .. " `\"\\x00-\\x1f\"`, or a list of them. Without it, and without `prefix`, every client is asked about." },
  { name = "is_server_first", type = "boolean", default = false,
    doc = "Its clients wait for the server's greeting: routes on it also take clients that say nothing within"
      .. " `peek_timeout`, like `rx.silent`." },
  { name = "samples", type = "samples",
    doc = "`yes`: first bytes that must be recognised as this protocol, `no`: that must not. Checked on every load." },
}

M.pool = section {
  verb = "rx.pool NAME { TARGET, ... }",
  doc = "Backends that share the load. Each is an address, `\"host:port\"`, `\"[v6]:port\"`, `\"unix:/path\"` or"
    .. " `\"srv:_service._tcp.name\"`, or a table `{ \"10.0.0.2:80\", weight = 2 }`. Returns a value for `to` and"
    .. " fallbacks.",
  unavailable = { "policy", "connect", "max_connections", "rate" },
  is_list = true,
  { name = "balance", type = "balance", default = "round_robin",
    values = {
      "round_robin", "least_conn", "random", "p2c", "source_ip", "source_socket", "maglev", "first",
    },
    doc = "How a backend is chosen: by name, or by a `function(conn, pool)` that returns a backend, `pool[i]`, or its"
      .. " number from 1; with nothing, and when it fails, it is `round_robin`." },
  { name = "tries", type = "count", min = 1, max = 1000, default_text = "each backend once",
    doc = "Backends tried for one connection before it counts as failed." },
  { name = "slow_start", type = "duration", min = "1s", max = "1h", default_text = "at once",
    doc = "A backend that came, or came back, reaches its weight little by little in this time. For `round_robin`,"
      .. " `least_conn`, `random` and `p2c`." },
  { name = "eject_after", type = "count", default = 3, min = 0, max = 1000,
    doc = "So many failures to connect in a row, and the backend rests; then one connection tries it again."
      .. " 0: never." },
  { name = "eject_time", type = "duration", default = "1s", min = "10ms", max = "1h",
    doc = "How long it rests the first time. Doubled each time it fails again, up to a minute." },
  { name = "ttl", type = "ttl",
    doc = "Bounds on how long the answer to a name stands, whatever the TTL of its records says:"
      .. " `{ min = \"5s\", max = \"5m\" }`." },
  { name = "source", type = "sources", default_text = "the system chooses",
    doc = "What to connect from, for backends of the same family: an address of this machine, a range"
      .. " `\"10.0.0.1-10.0.0.9\"`, a block `\"10.0.0.0/28\"`, or a list of these. They take turns, and one without a"
      .. " free port towards a backend is passed over." },
  SEND_PROXY,
  KEEPALIVE, USER_TIMEOUT,
  { name = "congestion", type = "short_name", default_text = "the system's",
    doc = "The congestion control towards backends, as in `\"bbr\"`." },
  { name = "mark", type = "count", min = 1, max = 4294967295, default_text = "none",
    doc = "The mark of packets to backends, for rules of routing and firewalls. Needs CAP_NET_ADMIN." },
  { name = "interface", type = "short_name", default_text = "as routed",
    doc = "The network interface that connections to backends leave by." },
  { name = "health", type = "health", default_text = "nobody asks",
    doc = "Ask each backend again and again whether it is well, and send nobody to one that is not; see below." },
}

M.health = section {
  verb = "`health` in rx.pool",
  doc = "How the backends of a pool are checked. One counts as up until the first result, which counts at once; a"
    .. " result over TCP says nothing about where UDP clients go, and a `udp` check nothing about TCP.",
  { name = "check", type = "choice", values = { "tcp", "tls", "http", "https", "udp" }, default = "tcp",
    doc = "`tcp`: it accepts a connection; `tls`: and a handshake succeeds; `http`, `https`: and a request is answered"
      .. " well; `udp`: a datagram is answered. With `send` or `expect` `tcp` and `tls` want an answer too." },
  { name = "every", type = "duration", default = "2s", min = "100ms", max = "1h",
    doc = "From one look to the next, a tenth more or less." },
  { name = "timeout", type = "duration", default = "1s", min = "10ms", max = "5m",
    doc = "How long one look may take, the answer included." },
  { name = "rise", type = "count", default = 2, min = 1, max = 1000, doc = "Good results in a row that bring it up." },
  { name = "fall", type = "count", default = 3, min = 1, max = 1000, doc = "Bad results in a row that take it down." },
  { name = "port", type = "count", min = 1, max = 65535, default_text = "the backend's",
    doc = "The port to ask, at the backend's address." },
  { name = "path", type = "http_path", default = "/", doc = "`http`: what is asked for." },
  { name = "host", type = "word", default_text = "the backend as written", doc = "`http`: the Host header." },
  { name = "method", type = "choice", values = { "GET", "HEAD" }, default = "GET", doc = "`http`: the method." },
  { name = "status", type = "statuses", default_text = "`\"200-399\"`",
    doc = "`http`: statuses that are good: a number, a range `\"200-299\"`, or a list of these." },
  { name = "send", type = "payload",
    doc = "What to say, at once: text, or bytes in hex, `\"hex:0000000804d2162f\"`. Needed for `udp`." },
  { name = "expect", type = "expectation",
    doc = "What the answer begins with (`http`: what is in the body): text, `\"hex:...\"`, or `\"~regex\"`, found"
      .. " anywhere; a list, of which one will do; or a `function(buf)` that returns `true`, `false` (with a second"
      .. " value: why) or `rx.more`. Without it any answer to `send` will do. The first 64 KB are looked at." },
  { name = "sni", type = "word", default_text = "`host`, or the backend's name",
    doc = "`tls`, `https`: the name asked for in the handshake." },
  { name = "verify", type = "boolean", default = false,
    doc = "`tls`, `https`: the certificate must be valid, for that name, and issued by who the system trusts"
      .. " (`SSL_CERT_FILE` names others)." },
}

M.backend = section {
  verb = "an entry of rx.pool or of a list in `to`",
  doc = "One backend with options: `{ \"10.0.0.2:80\", weight = 2 }`.",
  unavailable = { "health", "send_proxy", "slow_start" },
  is_list = true,
  { name = "weight", type = "count", default = 1, min = 1, max = 256, doc = "Its share relative to the others." },
  { name = "backup", type = "boolean", default = false, doc = "Used only when no other backend is left." },
  { name = "max_connections", type = "count", min = 1, max = 10000000, default_text = "no limit",
    doc = "Connections to it at one time, of all pools together; when it is full the next is taken." },
}

M.ttl = section {
  verb = "`ttl` in rx.pool",
  doc = "How long the answer to a name stands.",
  { name = "min", type = "duration", default = "5s", min = "1s", max = "1d", doc = "At least so long." },
  { name = "max", type = "duration", default = "5m", min = "1s", max = "1d", doc = "At most so long." },
}

M.route = section {
  verb = "an entry of `routes`",
  doc = "`{ PROTOCOL, conditions ..., to = TARGET, options ... }`. All conditions must hold; of a list of values one.",
  unavailable = {
    "identify", "policy",
  },
  is_list = true,
  { name = "to", type = "target", required = true, is_function = true,
    doc = "A pool, an address, a list of addresses, an action (`rx.refuse`, `rx.drop`, `rx.tarpit`, `rx.echo`,"
      .. " `rx.respond`, `rx.respond \"text\"`), or a `function(conn)` that returns a pool, an address, an action or a"
      .. " port of 127.0.0.1; with nothing, and when it fails, the route is skipped." },
  { name = "when", type = "func", args = "conn: rx.Conn", returns = "boolean?",
    doc = "`function(conn)`, asked when all else holds: `true` takes the connection. One that fails takes none." },
  { name = "transport", type = "choice", values = { "tcp", "udp" }, default_text = "what the protocol is spoken over",
    doc = "Connections only, or datagrams only, where the protocol has both." },
  { name = "sni", type = "texts", item = "name", cond = "SNI",
    doc = "The name a TLS or QUIC client asks for: exact, `\"*.example.com\"` (any depth below), or `\"~regex\"`." },
  { name = "alpn", type = "texts", item = "exact", cond = "ALPN",
    doc = "An application protocol the client offers, such as `\"h2\"`." },
  { name = "ech", type = "boolean",
    doc = "`true`: only clients that offer encrypted client hello; `false`: only others." },
  { name = "host", type = "texts", item = "name", cond = "HOST",
    doc = "The host an HTTP request names, without port; written like `sni`." },
  { name = "path", type = "texts", item = "path", cond = "PATH",
    doc = "What the HTTP path starts with, or `\"~regex\"`." },
  { name = "method", type = "texts", item = "exact", cond = "METHOD", doc = "The HTTP method, as in `\"GET\"`." },
  { name = "software", type = "texts", item = "pattern", cond = "SOFTWARE",
    doc = "What an SSH client calls itself starts with this (case does not matter), or `\"~regex\"`." },
  { name = "qname", type = "texts", item = "name", cond = "QNAME",
    doc = "The name a DNS query asks for; written like `sni`." },
  { name = "qtype", type = "texts", item = "qtype", cond = "QTYPE",
    doc = "The type a DNS query asks for: `\"AAAA\"`, `\"TYPE65\"` or a number." },
  { name = "key", type = "texts", item = "exact", cond = "KEY",
    doc = "What a protocol of your own learned about the client." },
  { name = "from", type = "texts", item = "cidr", cond = "FROM",
    doc = "The client's address or block: `\"10.0.0.0/8\"`." },
  { name = "not_from", type = "texts", item = "cidr", cond = "NOT_FROM",
    doc = "The client's address is in none of these." },
  { name = "to_port", type = "texts", item = "port", cond = "TO_PORT",
    doc = "The port the client came to: a number or a range `\"8000-8099\"`." },
  { name = "during", type = "texts", item = "during", cond = "DURING",
    doc = "Hours of the week in local time: `\"Mon-Fri 08:00-18:00\"`, `\"Sat,Sun\"`, `\"22:00-06:00\"`; what runs past"
      .. " midnight belongs to the day it begins on." },
  { name = "name", type = "label", default_text = "made from protocol and conditions",
    doc = "What logs, metrics and tests call this route." },
  { name = "fallback", type = "target", default_text = "refuse",
    doc = "Where its connections go when no backend of `to` is left." },
  { name = "mirror", type = "target",
    doc = "A pool or an address that gets a copy of what clients say, and whose answers are thrown away. It never"
      .. " delays the flow: one that cannot keep up is given up for that connection." },
  { name = "sessions", type = "sessions",
    doc = "What `rx.sessions` returned: its `by` says who a connection of this route is, and one that comes from one"
      .. " address too many is refused." },
  { name = "hooks", type = "hooks", doc = "What `rx.hook` returned, for the connections of this route: a list." },
  ON_OPEN, ON_DATA, ON_CLOSE, FILTER,
  SEND_PROXY,
  { name = "transparent", type = "boolean", default = false,
    doc = "Connect to backends from the client's own address. Needs CAP_NET_ADMIN, and a way back for the answers; see"
      .. " the guide." },
  { name = "eager", type = "boolean", default = false,
    doc = "For `rx.silent` and protocols whose server speaks first: connect to the backend while the client may still"
      .. " speak, so that one who does not has the greeting the moment `peek_timeout` ends; see the guide." },
  { name = "priority", type = "choice", values = { "both", "latency", "throughput" }, default = "both",
    doc = '`"latency"` copies at once, `"throughput"` lets the kernel move the bytes, `"both"` changes over as a'
      .. " connection begins to stream." },
  { name = "idle_timeout", type = "duration", min = "100ms", max = "30d", default_text = "the listener's",
    doc = "As in `rx.listen`, for this route." },
  { name = "connect_timeout", type = "duration", min = "10ms", max = "10m", default_text = "the listener's",
    doc = "As in `rx.listen`, for this route." },
  { name = "max_connections", type = "count", min = 1, max = 10000000, default_text = "no limit",
    doc = "Connections on this route at one time." },
  { name = "rate", type = "byte_rate", min = "1k/s", max = "1000g/s", default_text = "no limit",
    doc = "How fast the bytes of each connection may go, in each direction: `\"10m/s\"`. TCP only." },
  { name = "rate_total", type = "byte_rate", min = "1k/s", max = "1000g/s", default_text = "no limit",
    doc = "The same for all connections of the route together." },
}

local LABELS = { name = "labels", type = "labels", default_text = "none",
  doc = "Names of its labels, at most 4. Each set of label values has a number of its own; beyond 1000 sets further"
    .. " ones are counted as overflow only." }
local HELP = { name = "help", type = "string", default_text = "empty", doc = "What it counts, in a line." }

M.counter = section {
  verb = "rx.counter NAME { ... }",
  doc = "A number that only grows, shown in `/metrics`; by custom its name ends in `_total`. In functions:"
    .. " `c:inc(label values ...)`, `c:add(n, label values ...)`. All workers count together, and a reload that keeps"
    .. " its name and labels keeps the count.",
  HELP, LABELS,
}

M.gauge = section {
  verb = "rx.gauge NAME { ... }",
  doc = "A number that goes up and down, shown in `/metrics`. In functions: `g:set(v, label values ...)`,"
    .. " `g:add(n, label values ...)` (`n` may be negative), `g:inc(...)`, `g:dec(...)`.",
  HELP, LABELS,
}

M.shared = section {
  verb = "rx.shared NAME { ... }",
  doc = "A table that all workers share and that survives reloads. In functions: `t:get(key)`,"
    .. " `t:set(key, value, ttl)`, `t:add(key, value, ttl)` (only when it is not there; `true` if it was set),"
    .. " `t:incr(key, by, ttl)` (returns the sum), `t:delete(key)`. Keys are strings of at most 255 bytes, or numbers;"
    .. " values are strings of at most 4096 bytes, numbers, `true` and `false`. A `ttl`, which may be left out, is a"
    .. " duration or a number of seconds.",
  { name = "max_entries", type = "count", default = 10000, min = 1, max = 10000000,
    doc = "When it is full, the entry that was used least recently makes room." },
  { name = "ttl", type = "duration", min = "1ms", max = "365d", default_text = "no end",
    doc = "How long entries stay that were given no time of their own." },
}

M.hook = section {
  verb = "rx.hook NAME { ... }",
  doc = "Functions that see connections, for the `hooks` of a server, a listener or a route. Returns a value.",
  ON_OPEN, ON_DATA, ON_CLOSE, FILTER,
}

M.sessions = section {
  verb = "rx.sessions NAME { ... }",
  doc = "From how many addresses an identity may be active at once. What is heard of identities comes from routes"
    .. " (`sessions`) and from logs (`rx.tail`); all workers share it, and a reload forgets nothing. Returns a value.",
  { name = "by", type = "func", args = "conn: rx.Conn", returns = "string|number|nil",
    doc = "`function(conn)`, asked when a route with these sessions takes a connection: who that is. With nothing, and"
      .. " when it fails, the connection is nobody's and not counted." },
  { name = "max_ips", type = "count", default = 1, min = 1, max = 1000,
    doc = "Addresses of one identity at one time." },
  { name = "window", type = "duration", default = "5s", min = "100ms", max = "30d",
    doc = "How long an address is active after it was last heard of. With connections through this program it is"
      .. " active for as long as it has them." },
  { name = "timeout", type = "duration", default = "1m", min = "100ms", max = "30d",
    doc = "How long an address that was put out stays out. An edit of it holds for those who are out already." },
  { name = "keep", type = "choice", values = { "first", "last" }, default = "first",
    doc = 'Who has the place when there is one address too many: `"first"` puts the newcomer out, `"last"` the one that'
      .. " has been there longest, whose connections are closed." },
  { name = "limits", type = "own_limits", default_text = "`max_ips` for all", args = "identity: string",
    returns = "integer?",
    doc = "`max_ips` of single identities: a table such as `{ [\"alice\"] = 3 }`, or a `function(identity)` that"
      .. " returns a number, or nothing for the common one. It is asked for each thing heard." },
  { name = "exempt", type = "exempt", doc = "Who is never put out." },
  { name = "enforce", type = "enforce", values = { "ban", "nftables", "kill", "conntrack" },
    default_text = '`{ "ban" }`',
    doc = 'What else becomes of an address that is put out: `"ban"` turns it away from all listeners for `timeout` and'
      .. " closes all its connections, as `rx.ban` does. `{}`: it is refused on routes with these sessions, no more."
      .. " What the kernel does takes CAP_NET_ADMIN, and holds whatever program listens on `dport`:"
      .. ' `"nftables"` drops what the address sends there, `"kill"` closes its TCP connections (SOCK_DESTROY),'
      .. ' `"conntrack"` forgets its UDP flows.' },
  { name = "dport", type = "texts", item = "port", default_text = "none",
    doc = "Ports that the kernel closes (`enforce`): numbers or ranges such as `\"8000-8099\"`." },
  { name = "proto", type = "choice", values = { "tcp", "udp", "both" }, default = "both", doc = "Of which transport." },
  { name = "block_log", type = "string", default_text = "none",
    doc = "A file that gets a line for each address that was put out. Opened again when it was moved away." },
  { name = "block_log_format", type = "choice", values = { "text", "json" }, default = "text",
    doc = "How its lines are written." },
  { name = "dry_run", type = "boolean", default = false,
    doc = "Nobody is put out; violations are only counted and written to the block log." },
  { name = "store", type = "own_store", default_text = "the server's",
    doc = "The Redis through which other nodes share these sessions, where `rx.server` names none: then only those that"
      .. " do are shared, and the bans. `false`: they are this node's alone." },
  { name = "ipv6_prefix", type = "count", default = 64, min = 1, max = 128,
    doc = "How many leading bits make one address of an IPv6 client." },
  { name = "max_identities", type = "count", default = 1000000, min = 1, max = 100000000,
    doc = "Identities that are kept in mind. Beyond, the one heard of least recently is forgotten." },
}

M.exempt = section {
  verb = "`exempt` in rx.sessions",
  doc = "Who is never put out, nor counted.",
  { name = "identities", type = "identities", doc = "Identities: a string or a list." },
  { name = "networks", type = "texts", item = "cidr", doc = "Addresses or blocks: `\"10.0.0.0/8\"`." },
}

M.tail = section {
  verb = "rx.tail PATH { ... }",
  doc = "Follows a log that tells who is active from where. What is in the file at the start is the past. Rotated,"
    .. " truncated and late files are followed too.",
  { name = "parse", type = "line_parser", required = true, args = "line: string",
    returns = "string?, string?, string?",
    doc = "`rx.xray`, for the access log of Xray and V2Ray, or a `function(line)` that returns an identity and an"
      .. " address (and `\"udp\"`), or nothing for a line that is about nobody." },
  { name = "sessions", type = "sessions", required = true, doc = "What `rx.sessions` returned." },
}

M.test = section {
  verb = "rx.test NAME { ... }",
  doc = "What a client that says this must meet. Run on every load and by `refractium check`; a load that fails one is"
    .. " refused.",
  unavailable = { "to_port", "hook", "conn" },
  { name = "send", type = "segments",
    doc = "The client's first bytes: a string, or a list of segments (UDP: datagrams) sent one after the other." },
  { name = "from", type = "client", default_text = "192.0.2.1", doc = "The client's address, with or without a port." },
  { name = "at", type = "string", default_text = "now",
    doc = "When it comes, in local time: `\"2026-01-05 09:00\"`. For routes with `during`." },
  { name = "listener", type = "string", default_text = "the first",
    doc = "The listener it comes to, by one of its addresses." },
  { name = "transport", type = "choice", values = { "tcp", "udp" }, default = "tcp", doc = "How it comes." },
  { name = "silent", type = "boolean", default = false,
    doc = "After `send`, if any, it says nothing until `peek_timeout`." },
  { name = "eof", type = "boolean", default = false, doc = "After `send` it ends its side of the connection." },
  { name = "expect", type = "expect", required = true, doc = "What must come of it; see below." },
}

M.expect = section {
  verb = "`expect` in rx.test",
  doc = "What a test asks for; at least one of these.",
  unavailable = { "backend", "key", "sni", "host" },
  { name = "to", type = "expect_to",
    doc = "A pool, an address, an action, or one of the words `drop`, `refuse`, `tarpit`, `echo`, `respond`, `describe`"
      .. " (the bare `rx.respond`)." },
  { name = "protocol", type = "expect_protocol", doc = "What it is recognised as: a protocol or its name." },
  { name = "route", type = "string", doc = "The name of the route that takes it." },
  { name = "reason", type = "string",
    doc = 'Why it is turned away, as logs say it: `"no_route"`, `"tls-invalid"`, ...' },
  { name = "more", type = "boolean", default = false, doc = "`true`: it is still waiting for more bytes." },
}

M.samples = section {
  verb = "`samples` in rx.protocol",
  doc = "First bytes to try a protocol on.",
  { name = "yes", type = "segments", doc = "Recognised as this protocol." },
  { name = "no", type = "segments", doc = "Not recognised as this protocol." },
}

-- In the order the reference shows them.
M.order = {
  "server", "canary", "record", "listen", "proxy_protocol", "route", "pool", "backend", "health", "ttl", "send_proxy",
  "protocol", "samples", "hook", "sessions", "exempt", "tail", "counter", "gauge", "shared", "test", "expect",
}

M.actions = {
  { name = "refuse", doc = "Close with a reset." },
  { name = "drop", doc = "Close without a word." },
  { name = "tarpit", doc = "Hold the connection, reading slowly, never answering." },
  { name = "echo", doc = "Send back what comes." },
  { name = "respond",
    doc = '`rx.respond "text"` sends exactly these bytes, then closes. The bare `rx.respond` says what'
    .. " was recognised, in the client's own protocol." },
}

-- Words `expect.to` understands, as the program names what becomes of a connection.
M.outcomes = { "drop", "refuse", "respond", "echo", "tarpit", "describe" }

-- Verbs of later versions.
M.unavailable_verbs = {}
for _, name in ipairs {
  "policy",
} do
  M.unavailable_verbs[name] = true
end

return M
