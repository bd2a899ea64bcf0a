---@meta refractium
-- Generated from lua/refractium/schema.lua by lua/refractium/docgen.lua; edit there.

---@alias rx.Duration string "250ms", "3s", "1m", "1h", "1d"
---@alias rx.Size string "512b", "16k", "1m"
---@alias rx.Enforce "ban"|"nftables"|"kill"|"conntrack"
---@alias rx.Target rx.Pool|rx.Action|string|(string|rx.Backend)[]
---@alias rx.Outcome "drop"|"refuse"|"respond"|"echo"|"tarpit"|"describe"

---A protocol, for the first place of a route.
---@class rx.Protocol

---A pool of backends, for `to` and fallbacks.
---@class rx.Pool

---Functions that see connections, for `hooks`.
---@class rx.Hook

---From how many addresses identities may be active at once.
---@class rx.Sessions

---What reads the lines of a log.
---@class rx.LineParser

---A file that hooks append to.
---@class rx.File
---@field write fun(self: rx.File, text: string): boolean
---@field size fun(self: rx.File): integer

---What a route does without a backend.
---@class rx.Action
---@overload fun(text: string): rx.Action

---Another look when there are more bytes.
---@class rx.More

---@class rx.Client
---@field ip string
---@field port integer

---What a PROXY header said.
---@class rx.Proxy
---@field version integer
---@field via string the proxy's address
---@field authority? string
---@field alpn? string
---@field unique_id? string
---@field netns? string
---@field ssl? rx.ProxySsl
---@field tlv fun(self: rx.Proxy, type: integer): string? the bytes of a TLV

---@class rx.ProxySsl
---@field is_tls boolean
---@field has_cert boolean
---@field is_verified boolean
---@field version? string
---@field cn? string
---@field cipher? string
---@field sig_alg? string
---@field key_alg? string

---A backend as a `balance` function sees it.
---@class rx.BackendState
---@field name string its address
---@field active integer connections it has now

---@class rx.Backends
---@operator len: integer
---@field [integer] rx.BackendState

---@class rx.Counter
---@field inc fun(self: rx.Counter, ...: string|number|boolean) one more, with these label values
---@field add fun(self: rx.Counter, n: number, ...: string|number|boolean)

---@class rx.Gauge
---@field set fun(self: rx.Gauge, v: number, ...: string|number|boolean)
---@field add fun(self: rx.Gauge, n: number, ...: string|number|boolean)
---@field inc fun(self: rx.Gauge, ...: string|number|boolean)
---@field dec fun(self: rx.Gauge, ...: string|number|boolean)

---@class rx.Shared
---@field get fun(self: rx.Shared, key: string|number): string|number|boolean|nil
---@field set fun(self: rx.Shared, key: string|number, v: string|number|boolean, ttl?: string|number)
---@field add fun(self: rx.Shared, key: string|number, v: string|number|boolean, ttl?: string|number): boolean
---@field incr fun(self: rx.Shared, key: string|number, by?: number, ttl?: string|number): number
---@field delete fun(self: rx.Shared, key: string|number): boolean

---@class rx.Re
---@field test fun(self: rx.Re, s: string|rx.Buf, from?: integer): boolean Whether it matches at or behind `from`.
---@field find fun(self: rx.Re, s: string|rx.Buf, from?: integer): integer?, integer? Where it matches first.
---@field match fun(self: rx.Re, s: string|rx.Buf, from?: integer): string?, ... What its groups, or all of it, matched.

---@class rx.Log
---@field error fun(message: any, details?: table)
---@field warn fun(message: any, details?: table)
---@field info fun(message: any, details?: table)
---@field debug fun(message: any, details?: table)

---What concerns the whole process. May be left out; may stand once.
---@class rx.Server
---@field user? string The user that the program becomes before it opens or binds anything, when root starts it: a name or a number. It keeps the right to listen on ports below 1024. Default: whoever starts it.
---@field group? string The group it becomes with that. Default: the user's.
---@field chroot? string The directory that becomes the program's root, when root starts it and `user` is given. Whatever it opens later must be inside: logs, sockets, and the config, for reloads. Default: none.
---@field sandbox? boolean|"strict" `true`: once it serves, the program can ask the kernel for nothing that a multiplexer has no use for, and start no programs but the system's and those beside its own. `"strict"`: it can also write only in the directories of the files and sockets that this config names, not those of later edits, and read only there, where the config is, and in the system's. `false`: none of this. Default: `true`.
---@field workers? integer|"auto" Worker threads; `"auto"` is one per core. Default: `"auto"`. Range: 1 to 1024.
---@field max_connections? integer Connections at one time, all listeners together. Default: `10000`. Range: 1 to 10000000.
---@field max_sessions? integer UDP flows at one time, all listeners together: a flow is what one client address and port says to one of ours. Default: `65536`. Range: 1 to 10000000.
---@field connection_rate? string|table New connections, all listeners together: `"1000/s"`, `/m`, `/h`, or `{ "1000/s", burst = 2000 }`. `burst` is how many may come at once; without it as many as the rate says. Default: no limit. Range: 1 to 1000000.
---@field rate_per_ip? string|table New connections of one client address, all listeners together, written like `connection_rate`. UDP flows count as well. Default: no limit. Range: 1 to 1000000.
---@field over_limit? rx.Action What becomes of connections that a limit or a rate keeps out: `rx.refuse`, `rx.drop`, or `rx.tarpit`, which holds at most 256 of them for each worker, for 30 seconds at most. Default: `rx.refuse`.
---@field hot_reload? boolean Watch the config file and take an edit that validates and passes its tests; SIGHUP reloads in any case. Default: `true`.
---@field canary? rx.Canary|false `{ share = "5%", watch = "30s" }`: a new config first gets a share of new connections, and goes again by itself when it does worse than the running one. `false`: it gets all of them at once. Default: `false`.
---@field drain_timeout? rx.Duration How long connections may finish after SIGTERM. Default: `"30s"`. Range: `0ms` to `1d`.
---@field upgrade_timeout? rx.Duration How long a new binary may take until it can serve (`refractium upgrade`, SIGUSR2). Default: `"30s"`. Range: `100ms` to `1h`.
---@field metrics? string Where the dashboard (`/`), `/metrics` (Prometheus), `/status.json`, `/healthz` and `/readyz` are served: `"127.0.0.1:9180"`. Default: none.
---@field metrics_host? string|string[] Names under which that port may be asked, beside `localhost` and IP addresses: one or a list. Others are refused, so that no web site can read it through its visitors' browsers (DNS rebinding). Default: none.
---@field metrics_token? string Who reads anything there but `/healthz` and `/readyz` must send `Authorization: Bearer` with this, or `Basic` with this as the password, as browsers do. Default: none.
---@field admin? string|false The unix socket that `refractium status`, `top` and the like talk to: its path, or `false` for none. Without it the socket is PORT.sock under `$XDG_RUNTIME_DIR/refractium`, or `/run/refractium`. Default: named after the first listener's port.
---@field script_budget? rx.Duration How long one call of a function of the config may take. One that takes longer is stopped and not called again until the next good reload. Default: `"50ms"`. Range: `1ms` to `10s`.
---@field access_log? boolean|string One line per connection with the reason it ended: `true` (to standard output), `false`, `"journal"`, `"syslog"`, or a file's path. Default: on when standard output is a terminal.
---@field access_log_sample? string How many of the connections have a line. Default: `"100%"`. Range: `0.0001%` to `100%`.
---@field log? string Where messages go: `"stderr"`, `"journal"`, `"syslog"`, or a file's path. What cannot go there goes to standard error. Default: `"stderr"`.
---@field log_format? "auto"|"text"|"json" `"auto"` is coloured text on a terminal and plain text for the journal elsewhere. Default: `"auto"`.
---@field record? rx.Record Keep first bytes of clients and what was decided in a file, for `refractium replay`; see below. Default: off.
---@field store? string A Redis through which several nodes share every `rx.sessions` and the list of bans: `"redis://[user:password@]host[:port][/db]"` or `"unix:/path"`. While it is away each node goes on alone. Default: none: they live in this process.
---@field resolver? string|string[] DNS servers for the names in pools: an IP address with or without a port, as in `"127.0.0.1:5353"`, or a list. /etc/hosts comes first in any case. Default: the system's, /etc/resolv.conf.
---@field fallback_tcp? rx.Target Where TCP connections go that no route takes. Without one they are dropped, counted and logged. A listener's own comes first. Default: drop.
---@field fallback_udp? rx.Target Where datagrams go that no route takes. Default: drop.
---@field hooks? rx.Hook[] What `rx.hook` returned, for the connections of every listener: a list.

---A new config is tried on a share of new connections first.
---@class rx.Canary
---@field share? string How many of the new connections it gets. Default: `"5%"`. Range: `0.1%` to `50%`.
---@field watch? rx.Duration How long; then it gets all of them, unless it did worse than the running one. Default: `"30s"`. Range: `1s` to `1d`.

---What is kept of live traffic. The file holds what clients say, passwords in clear text among it: it is made for its owner alone, and should not stay longer than it is needed.
---@class rx.Record
---@field file string Where. One that is there already is added to.
---@field max_size? rx.Size How large it may become; then recording ends. Default: `"64m"`. Range: `4k` to `1024g`.
---@field sample? string How many of the decisions are kept. Default: `"100%"`. Range: `0.0001%` to `100%`.
---@field bytes? rx.Size How many first bytes of each. Default: `"4k"`. Range: `1b` to `48k`.

---Where clients knock: `"A.B.C.D:P"`, `"[::]:P"`, `"*:P"` (both families), `"unix:/path"`, `"systemd:NAME"` (a socket that systemd opened and passed), or a list of these. P may be a range, as in `8000-8010`.
---@class rx.Listen
---@field routes? rx.Route[] Who goes where: the first route whose protocol and conditions hold takes the connection. Default: none.
---@field fallback_tcp? rx.Target Where TCP connections go that no route takes. Without one they are dropped, counted and logged. Default: the server's.
---@field fallback_udp? rx.Target Where datagrams go that no route takes. Default: the server's.
---@field max_connections? integer Connections to this listener at one time. Default: the server's. Range: 1 to 10000000.
---@field max_connections_per_ip? integer Connections of one client address at one time. Mind clients behind one NAT or proxy. Default: no limit. Range: 1 to 10000000.
---@field max_sessions? integer UDP flows of this listener at one time. Default: the server's. Range: 1 to 10000000.
---@field max_sessions_per_ip? integer UDP flows of one client address at one time. Default: no limit. Range: 1 to 10000000.
---@field udp_idle_timeout? rx.Duration A UDP flow with no datagram in either direction for so long is forgotten; a route's `idle_timeout` overrides it. DNS waits 10 s at most. Default: `"60s"`. Range: `1s` to `1d`.
---@field ipv6_prefix? integer How many leading bits make one client when IPv6 addresses are counted. Default: `64`. Range: 1 to 128.
---@field peek_timeout? rx.Duration How long a client may take to say who it is; after that it is `rx.silent`, then the fallback. Default: `"3s"`. Range: `10ms` to `10m`.
---@field peek_buffer_size? rx.Size At most so many first bytes are kept for recognition. A ceiling: a connection uses what it needs. Default: `"16k"`. Range: `64b` to `1m`.
---@field proxy_protocol? rx.ProxyProtocol Which clients are proxies that tell by a PROXY header whose connections they pass on: `{ from = { "10.0.0.0/8" } }`. From these a header is required, from others it is nothing special. Default: none.
---@field backlog? integer Connections that may wait to be accepted, in each worker's queue; net.core.somaxconn is a ceiling. Default: as many as the system allows. Range: 1 to 65535.
---@field fast_open? integer Clients may send their first bytes with the packet that opens the connection (TCP fast open); at most so many may be on their way. The system must allow it: net.ipv4.tcp_fastopen. Default: none. Range: 1 to 65535.
---@field keepalive? rx.Duration After so long without a byte the kernel asks whether the other side is still there, and again after as long; three questions without an answer end the connection. Default: none. Range: `1s` to `9h`.
---@field user_timeout? rx.Duration How long what was sent may stay unacknowledged before the connection is closed. Default: the system's. Range: `10ms` to `9h`.
---@field congestion? string The congestion control towards clients, as in `"bbr"`. Default: the system's.
---@field mark? integer The mark of packets to clients, for rules of routing and firewalls. Needs CAP_NET_ADMIN. Default: none. Range: 1 to 4294967295.
---@field interface? string The network interface that clients come by; who comes by another is not heard. Default: any.
---@field max_pending? integer Connections that are not recognised yet at one time. Default: no limit. Range: 1 to 10000000.
---@field connection_rate? string|table New connections: `"1000/s"`, `/m`, `/h`, or `{ "1000/s", burst = 2000 }`. `burst` is how many may come at once; without it as many as the rate says. Default: no limit. Range: 1 to 1000000.
---@field rate_per_ip? string|table New connections of one client address, written like `connection_rate`. UDP flows count as well. Default: no limit. Range: 1 to 1000000.
---@field over_limit? rx.Action What becomes of connections that a limit or a rate keeps out: `rx.refuse`, `rx.drop`, or `rx.tarpit`, which holds at most 256 of them for each worker, for 30 seconds at most. Default: the server's.
---@field identify? fun(buf: rx.Buf): rx.Protocol|rx.Pool|rx.Action|rx.More|string|integer|nil, string? `function(buf)`, asked before the routes: a protocol or its name (the routes of that protocol are tried), a pool, an address, an action or a port of 127.0.0.1 (it goes there), `rx.more`, or nothing (the routes decide, as when it fails).
---@field on_accept? fun(conn: rx.Conn): rx.Action? `function(conn)`, called for every connection before its first byte; `rx.refuse` turns it away, anything else lets it in. A function that fails turns it away too.
---@field hooks? rx.Hook[] What `rx.hook` returned, for the connections of this listener: a list.
---@field on_open? fun(conn: rx.Conn): any `function(conn)`, told of a connection that has reached its backend, or that the program answers itself.
---@field on_data? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): any `function(conn, direction, buf)`, shown a copy of the bytes that pass, in order; `direction` is `"to_server"` or `"to_client"`. The flow never waits for it: what it is too slow for is lost to it, and counted in `conn.lost`.
---@field on_close? fun(conn: rx.Conn, why: string): any `function(conn, why)`, told that a connection has ended, with the access log's word. Every connection that `on_open` was told of gets it once.
---@field filter? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): string|rx.Action|nil `function(conn, direction, buf)` in the flow, in the worker: nil passes the bytes on, a string (which may be empty) goes on in their place, `rx.refuse` resets both sides; so does a function that fails.
---@field connect_timeout? rx.Duration How long connecting may take, all backends that are tried together. Default: `"5s"`. Range: `10ms` to `10m`.
---@field idle_timeout? rx.Duration A connection with no byte in either direction for so long is closed. Default: `"1h"`. Range: `100ms` to `30d`.

---Who must send a PROXY header (version 1 or 2) before anything else. The client's address it names is the one that conditions, limits, bans and logs go by.
---@class rx.ProxyProtocol
---@field from string|string[] The proxies' addresses or blocks, or `"unix"` for whoever comes to a unix socket: one, or a list.

---`{ PROTOCOL, conditions ..., to = TARGET, options ... }`. All conditions must hold; of a list of values one.
---@class rx.Route
---@field [1] rx.Protocol What the client must speak.
---@field to rx.Target|fun(conn: rx.Conn): rx.Target|integer|nil A pool, an address, a list of addresses, an action (`rx.refuse`, `rx.drop`, `rx.tarpit`, `rx.echo`, `rx.respond`, `rx.respond "text"`), or a `function(conn)` that returns a pool, an address, an action or a port of 127.0.0.1; with nothing, and when it fails, the route is skipped.
---@field when? fun(conn: rx.Conn): boolean? `function(conn)`, asked when all else holds: `true` takes the connection. One that fails takes none.
---@field transport? "tcp"|"udp" Connections only, or datagrams only, where the protocol has both. Default: what the protocol is spoken over.
---@field sni? string|string[] The name a TLS or QUIC client asks for: exact, `"*.example.com"` (any depth below), or `"~regex"`.
---@field alpn? string|string[] An application protocol the client offers, such as `"h2"`.
---@field ech? boolean `true`: only clients that offer encrypted client hello; `false`: only others.
---@field host? string|string[] The host an HTTP request names, without port; written like `sni`.
---@field path? string|string[] What the HTTP path starts with, or `"~regex"`.
---@field method? string|string[] The HTTP method, as in `"GET"`.
---@field software? string|string[] What an SSH client calls itself starts with this (case does not matter), or `"~regex"`.
---@field qname? string|string[] The name a DNS query asks for; written like `sni`.
---@field qtype? integer|string|(integer|string)[] The type a DNS query asks for: `"AAAA"`, `"TYPE65"` or a number.
---@field key? string|string[] What a protocol of your own learned about the client.
---@field from? string|string[] The client's address or block: `"10.0.0.0/8"`.
---@field not_from? string|string[] The client's address is in none of these.
---@field to_port? integer|string|(integer|string)[] The port the client came to: a number or a range `"8000-8099"`.
---@field during? string|string[] Hours of the week in local time: `"Mon-Fri 08:00-18:00"`, `"Sat,Sun"`, `"22:00-06:00"`; what runs past midnight belongs to the day it begins on.
---@field name? string What logs, metrics and tests call this route. Default: made from protocol and conditions.
---@field fallback? rx.Target Where its connections go when no backend of `to` is left. Default: refuse.
---@field mirror? rx.Target A pool or an address that gets a copy of what clients say, and whose answers are thrown away. It never delays the flow: one that cannot keep up is given up for that connection.
---@field sessions? rx.Sessions What `rx.sessions` returned: its `by` says who a connection of this route is, and one that comes from one address too many is refused.
---@field hooks? rx.Hook[] What `rx.hook` returned, for the connections of this route: a list.
---@field on_open? fun(conn: rx.Conn): any `function(conn)`, told of a connection that has reached its backend, or that the program answers itself.
---@field on_data? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): any `function(conn, direction, buf)`, shown a copy of the bytes that pass, in order; `direction` is `"to_server"` or `"to_client"`. The flow never waits for it: what it is too slow for is lost to it, and counted in `conn.lost`.
---@field on_close? fun(conn: rx.Conn, why: string): any `function(conn, why)`, told that a connection has ended, with the access log's word. Every connection that `on_open` was told of gets it once.
---@field filter? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): string|rx.Action|nil `function(conn, direction, buf)` in the flow, in the worker: nil passes the bytes on, a string (which may be empty) goes on in their place, `rx.refuse` resets both sides; so does a function that fails.
---@field send_proxy? "v1"|"v2"|rx.SendProxy Tell backends who the client is, in a PROXY header before its first byte: `"v1"`, `"v2"`, or a table, as in `{ version = "v2", unique_id = true }`. Default: none.
---@field transparent? boolean Connect to backends from the client's own address. Needs CAP_NET_ADMIN, and a way back for the answers; see the guide. Default: `false`.
---@field eager? boolean For `rx.silent` and protocols whose server speaks first: connect to the backend while the client may still speak, so that one who does not has the greeting the moment `peek_timeout` ends; see the guide. Default: `false`.
---@field priority? "both"|"latency"|"throughput" `"latency"` copies at once, `"throughput"` lets the kernel move the bytes, `"both"` changes over as a connection begins to stream. Default: `"both"`.
---@field idle_timeout? rx.Duration As in `rx.listen`, for this route. Default: the listener's. Range: `100ms` to `30d`.
---@field connect_timeout? rx.Duration As in `rx.listen`, for this route. Default: the listener's. Range: `10ms` to `10m`.
---@field max_connections? integer Connections on this route at one time. Default: no limit. Range: 1 to 10000000.
---@field rate? string How fast the bytes of each connection may go, in each direction: `"10m/s"`. TCP only. Default: no limit. Range: `1k/s` to `1000g/s`.
---@field rate_total? string The same for all connections of the route together. Default: no limit. Range: `1k/s` to `1000g/s`.

---Backends that share the load. Each is an address, `"host:port"`, `"[v6]:port"`, `"unix:/path"` or `"srv:_service._tcp.name"`, or a table `{ "10.0.0.2:80", weight = 2 }`. Returns a value for `to` and fallbacks.
---@class rx.PoolOptions
---@field [integer] string|rx.Backend The backends.
---@field balance? "round_robin"|"least_conn"|"random"|"p2c"|"source_ip"|"source_socket"|"maglev"|"first"|fun(conn: rx.Conn, pool: rx.Backends): integer|rx.BackendState|nil How a backend is chosen: by name, or by a `function(conn, pool)` that returns a backend, `pool[i]`, or its number from 1; with nothing, and when it fails, it is `round_robin`. Default: `"round_robin"`.
---@field tries? integer Backends tried for one connection before it counts as failed. Default: each backend once. Range: 1 to 1000.
---@field slow_start? rx.Duration A backend that came, or came back, reaches its weight little by little in this time. For `round_robin`, `least_conn`, `random` and `p2c`. Default: at once. Range: `1s` to `1h`.
---@field eject_after? integer So many failures to connect in a row, and the backend rests; then one connection tries it again. 0: never. Default: `3`. Range: 0 to 1000.
---@field eject_time? rx.Duration How long it rests the first time. Doubled each time it fails again, up to a minute. Default: `"1s"`. Range: `10ms` to `1h`.
---@field ttl? rx.Ttl Bounds on how long the answer to a name stands, whatever the TTL of its records says: `{ min = "5s", max = "5m" }`.
---@field source? string|string[] What to connect from, for backends of the same family: an address of this machine, a range `"10.0.0.1-10.0.0.9"`, a block `"10.0.0.0/28"`, or a list of these. They take turns, and one without a free port towards a backend is passed over. Default: the system chooses.
---@field send_proxy? "v1"|"v2"|rx.SendProxy Tell backends who the client is, in a PROXY header before its first byte: `"v1"`, `"v2"`, or a table, as in `{ version = "v2", unique_id = true }`. Default: none.
---@field keepalive? rx.Duration After so long without a byte the kernel asks whether the other side is still there, and again after as long; three questions without an answer end the connection. Default: none. Range: `1s` to `9h`.
---@field user_timeout? rx.Duration How long what was sent may stay unacknowledged before the connection is closed. Default: the system's. Range: `10ms` to `9h`.
---@field congestion? string The congestion control towards backends, as in `"bbr"`. Default: the system's.
---@field mark? integer The mark of packets to backends, for rules of routing and firewalls. Needs CAP_NET_ADMIN. Default: none. Range: 1 to 4294967295.
---@field interface? string The network interface that connections to backends leave by. Default: as routed.
---@field health? rx.Health Ask each backend again and again whether it is well, and send nobody to one that is not; see below. Default: nobody asks.

---One backend with options: `{ "10.0.0.2:80", weight = 2 }`.
---@class rx.Backend
---@field [1] string Its address.
---@field weight? integer Its share relative to the others. Default: `1`. Range: 1 to 256.
---@field backup? boolean Used only when no other backend is left. Default: `false`.
---@field max_connections? integer Connections to it at one time, of all pools together; when it is full the next is taken. Default: no limit. Range: 1 to 10000000.

---How the backends of a pool are checked. One counts as up until the first result, which counts at once; a result over TCP says nothing about where UDP clients go, and a `udp` check nothing about TCP.
---@class rx.Health
---@field check? "tcp"|"tls"|"http"|"https"|"udp" `tcp`: it accepts a connection; `tls`: and a handshake succeeds; `http`, `https`: and a request is answered well; `udp`: a datagram is answered. With `send` or `expect` `tcp` and `tls` want an answer too. Default: `"tcp"`.
---@field every? rx.Duration From one look to the next, a tenth more or less. Default: `"2s"`. Range: `100ms` to `1h`.
---@field timeout? rx.Duration How long one look may take, the answer included. Default: `"1s"`. Range: `10ms` to `5m`.
---@field rise? integer Good results in a row that bring it up. Default: `2`. Range: 1 to 1000.
---@field fall? integer Bad results in a row that take it down. Default: `3`. Range: 1 to 1000.
---@field port? integer The port to ask, at the backend's address. Default: the backend's. Range: 1 to 65535.
---@field path? string `http`: what is asked for. Default: `"/"`.
---@field host? string `http`: the Host header. Default: the backend as written.
---@field method? "GET"|"HEAD" `http`: the method. Default: `"GET"`.
---@field status? integer|string|(integer|string)[] `http`: statuses that are good: a number, a range `"200-299"`, or a list of these. Default: `"200-399"`.
---@field send? string What to say, at once: text, or bytes in hex, `"hex:0000000804d2162f"`. Needed for `udp`.
---@field expect? string|string[]|fun(buf: rx.Buf): boolean|rx.More|nil, string? What the answer begins with (`http`: what is in the body): text, `"hex:..."`, or `"~regex"`, found anywhere; a list, of which one will do; or a `function(buf)` that returns `true`, `false` (with a second value: why) or `rx.more`. Without it any answer to `send` will do. The first 64 KB are looked at.
---@field sni? string `tls`, `https`: the name asked for in the handshake. Default: `host`, or the backend's name.
---@field verify? boolean `tls`, `https`: the certificate must be valid, for that name, and issued by who the system trusts (`SSL_CERT_FILE` names others). Default: `false`.

---How long the answer to a name stands.
---@class rx.Ttl
---@field min? rx.Duration At least so long. Default: `"5s"`. Range: `1s` to `1d`.
---@field max? rx.Duration At most so long. Default: `"5m"`. Range: `1s` to `1d`.

---What a PROXY header for backends says.
---@class rx.SendProxy
---@field version? "v1"|"v2" 1 is a line of text with the addresses, 2 is binary and also has the name and the protocol a TLS client asks for. Default: `"v2"`.
---@field unique_id? boolean Version 2: say the connection's id, as the access log has it; or the one it came with. Default: `false`.
---@field crc32c? boolean Version 2: add a checksum. Default: `false`.

---A protocol of your own, told by its first bytes. Returns a value for routes.
---@class rx.ProtocolOptions
---@field transport? "tcp"|"udp"|"both" Where it is looked for. Default: `"both"`.
---@field prefix? string|string[] What it starts with: a string, or a list of which one must fit.
---@field patterns? string|string[] Bytes anywhere in the first `within` bytes: a string, or a list of which one must occur. With `prefix` given as well, either is enough.
---@field within? rx.Size How far `patterns` are looked for. Default: `"1k"`. Range: `1b` to `64k`.
---@field identify? fun(buf: rx.Buf): boolean|rx.More|nil, string? `function(buf)` that looks at the first bytes: `true` is a match (with a second value, the connection's `key`), `false` or nothing is none, `rx.more` asks again when there are more bytes. Given `prefix`, it is asked only where one of these is there.
---@field first? string|string[] Bytes that `identify` is asked about when a client begins with one: a byte such as `"G"`, a range such as `"\x00-\x1f"`, or a list of them. Without it, and without `prefix`, every client is asked about.
---@field is_server_first? boolean Its clients wait for the server's greeting: routes on it also take clients that say nothing within `peek_timeout`, like `rx.silent`. Default: `false`.
---@field samples? rx.Samples `yes`: first bytes that must be recognised as this protocol, `no`: that must not. Checked on every load.

---First bytes to try a protocol on.
---@class rx.Samples
---@field yes? string|string[] Recognised as this protocol.
---@field no? string|string[] Not recognised as this protocol.

---Functions that see connections, for the `hooks` of a server, a listener or a route. Returns a value.
---@class rx.HookOptions
---@field on_open? fun(conn: rx.Conn): any `function(conn)`, told of a connection that has reached its backend, or that the program answers itself.
---@field on_data? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): any `function(conn, direction, buf)`, shown a copy of the bytes that pass, in order; `direction` is `"to_server"` or `"to_client"`. The flow never waits for it: what it is too slow for is lost to it, and counted in `conn.lost`.
---@field on_close? fun(conn: rx.Conn, why: string): any `function(conn, why)`, told that a connection has ended, with the access log's word. Every connection that `on_open` was told of gets it once.
---@field filter? fun(conn: rx.Conn, direction: "to_server"|"to_client", buf: rx.Buf): string|rx.Action|nil `function(conn, direction, buf)` in the flow, in the worker: nil passes the bytes on, a string (which may be empty) goes on in their place, `rx.refuse` resets both sides; so does a function that fails.

---From how many addresses an identity may be active at once. What is heard of identities comes from routes (`sessions`) and from logs (`rx.tail`); all workers share it, and a reload forgets nothing. Returns a value.
---@class rx.SessionsOptions
---@field by? fun(conn: rx.Conn): string|number|nil `function(conn)`, asked when a route with these sessions takes a connection: who that is. With nothing, and when it fails, the connection is nobody's and not counted.
---@field max_ips? integer Addresses of one identity at one time. Default: `1`. Range: 1 to 1000.
---@field window? rx.Duration How long an address is active after it was last heard of. With connections through this program it is active for as long as it has them. Default: `"5s"`. Range: `100ms` to `30d`.
---@field timeout? rx.Duration How long an address that was put out stays out. An edit of it holds for those who are out already. Default: `"1m"`. Range: `100ms` to `30d`.
---@field keep? "first"|"last" Who has the place when there is one address too many: `"first"` puts the newcomer out, `"last"` the one that has been there longest, whose connections are closed. Default: `"first"`.
---@field limits? table<string, integer>|fun(identity: string): integer? `max_ips` of single identities: a table such as `{ ["alice"] = 3 }`, or a `function(identity)` that returns a number, or nothing for the common one. It is asked for each thing heard. Default: `max_ips` for all.
---@field exempt? rx.Exempt Who is never put out.
---@field enforce? rx.Enforce|rx.Enforce[] What else becomes of an address that is put out: `"ban"` turns it away from all listeners for `timeout` and closes all its connections, as `rx.ban` does. `{}`: it is refused on routes with these sessions, no more. What the kernel does takes CAP_NET_ADMIN, and holds whatever program listens on `dport`: `"nftables"` drops what the address sends there, `"kill"` closes its TCP connections (SOCK_DESTROY), `"conntrack"` forgets its UDP flows. Default: `{ "ban" }`.
---@field dport? integer|string|(integer|string)[] Ports that the kernel closes (`enforce`): numbers or ranges such as `"8000-8099"`. Default: none.
---@field proto? "tcp"|"udp"|"both" Of which transport. Default: `"both"`.
---@field block_log? string A file that gets a line for each address that was put out. Opened again when it was moved away. Default: none.
---@field block_log_format? "text"|"json" How its lines are written. Default: `"text"`.
---@field dry_run? boolean Nobody is put out; violations are only counted and written to the block log. Default: `false`.
---@field store? string|false The Redis through which other nodes share these sessions, where `rx.server` names none: then only those that do are shared, and the bans. `false`: they are this node's alone. Default: the server's.
---@field ipv6_prefix? integer How many leading bits make one address of an IPv6 client. Default: `64`. Range: 1 to 128.
---@field max_identities? integer Identities that are kept in mind. Beyond, the one heard of least recently is forgotten. Default: `1000000`. Range: 1 to 100000000.

---Who is never put out, nor counted.
---@class rx.Exempt
---@field identities? string|string[] Identities: a string or a list.
---@field networks? string|string[] Addresses or blocks: `"10.0.0.0/8"`.

---Follows a log that tells who is active from where. What is in the file at the start is the past. Rotated, truncated and late files are followed too.
---@class rx.TailOptions
---@field parse rx.LineParser|fun(line: string): string?, string?, string? `rx.xray`, for the access log of Xray and V2Ray, or a `function(line)` that returns an identity and an address (and `"udp"`), or nothing for a line that is about nobody.
---@field sessions rx.Sessions What `rx.sessions` returned.

---A number that only grows, shown in `/metrics`; by custom its name ends in `_total`. In functions: `c:inc(label values ...)`, `c:add(n, label values ...)`. All workers count together, and a reload that keeps its name and labels keeps the count.
---@class rx.CounterOptions
---@field help? string What it counts, in a line. Default: empty.
---@field labels? string|string[] Names of its labels, at most 4. Each set of label values has a number of its own; beyond 1000 sets further ones are counted as overflow only. Default: none.

---A number that goes up and down, shown in `/metrics`. In functions: `g:set(v, label values ...)`, `g:add(n, label values ...)` (`n` may be negative), `g:inc(...)`, `g:dec(...)`.
---@class rx.GaugeOptions
---@field help? string What it counts, in a line. Default: empty.
---@field labels? string|string[] Names of its labels, at most 4. Each set of label values has a number of its own; beyond 1000 sets further ones are counted as overflow only. Default: none.

---A table that all workers share and that survives reloads. In functions: `t:get(key)`, `t:set(key, value, ttl)`, `t:add(key, value, ttl)` (only when it is not there; `true` if it was set), `t:incr(key, by, ttl)` (returns the sum), `t:delete(key)`. Keys are strings of at most 255 bytes, or numbers; values are strings of at most 4096 bytes, numbers, `true` and `false`. A `ttl`, which may be left out, is a duration or a number of seconds.
---@class rx.SharedOptions
---@field max_entries? integer When it is full, the entry that was used least recently makes room. Default: `10000`. Range: 1 to 10000000.
---@field ttl? rx.Duration How long entries stay that were given no time of their own. Default: no end. Range: `1ms` to `365d`.

---What a client that says this must meet. Run on every load and by `refractium check`; a load that fails one is refused.
---@class rx.Test
---@field send? string|string[] The client's first bytes: a string, or a list of segments (UDP: datagrams) sent one after the other.
---@field from? string The client's address, with or without a port. Default: 192.0.2.1.
---@field at? string When it comes, in local time: `"2026-01-05 09:00"`. For routes with `during`. Default: now.
---@field listener? string The listener it comes to, by one of its addresses. Default: the first.
---@field transport? "tcp"|"udp" How it comes. Default: `"tcp"`.
---@field silent? boolean After `send`, if any, it says nothing until `peek_timeout`. Default: `false`.
---@field eof? boolean After `send` it ends its side of the connection. Default: `false`.
---@field expect rx.Expect What must come of it; see below.

---What a test asks for; at least one of these.
---@class rx.Expect
---@field to? rx.Target|rx.Outcome A pool, an address, an action, or one of the words `drop`, `refuse`, `tarpit`, `echo`, `respond`, `describe` (the bare `rx.respond`).
---@field protocol? rx.Protocol|string What it is recognised as: a protocol or its name.
---@field route? string The name of the route that takes it.
---@field reason? string Why it is turned away, as logs say it: `"no_route"`, `"tls-invalid"`, ...
---@field more? boolean `true`: it is still waiting for more bytes. Default: `false`.

---The first bytes of a connection.
---@class rx.Buf
---@operator len: integer
---@field [integer] integer the byte at i; places count from 0, and beyond the end it is -1
---@field u8 fun(self: rx.Buf, i: integer): integer the same
---@field u16 fun(self: rx.Buf, i: integer): integer the number at i in network order, -1 when it is not all there
---@field u24 fun(self: rx.Buf, i: integer): integer the same of three bytes
---@field u32 fun(self: rx.Buf, i: integer): integer the same of four bytes
---@field u16le fun(self: rx.Buf, i: integer): integer the number at i with its low byte first, -1 when it is not all there
---@field u32le fun(self: rx.Buf, i: integer): integer the same of four bytes
---@field starts fun(self: rx.Buf, s: string, at: integer?): boolean whether the bytes at `at` (0 unless given) are s
---@field find fun(self: rx.Buf, s: string, from: integer?): integer? the first place of s at or after `from` (0 unless given), or nil
---@field sub fun(self: rx.Buf, i: integer?, j: integer?): string a string: the bytes from i up to, but not with, j (the end unless given), so that `buf:sub(0, 4)` is the first four; negative places count from the end
---@field line fun(self: rx.Buf): string? the first line without its end, or nil while none has ended
---@field hex fun(self: rx.Buf, n: integer?): string the first n bytes (32 unless given) as hexadecimal digits, for logs

---A connection.
---@class rx.Conn
---@field id integer? its number in logs
---@field client rx.Client? `conn.client.ip` and `conn.client.port`
---@field listener string? the address it came to
---@field transport string? `tcp` or `udp`
---@field to_port integer? the port it came to
---@field protocol string? what it was recognised as
---@field sni string? the name a TLS or QUIC client asks for
---@field alpn string[]? the application protocols it offers; an empty list when none
---@field ech boolean? whether it offers encrypted client hello
---@field host string? the host of an HTTP request
---@field path string? its path
---@field method string? its method
---@field software string? what an SSH client calls itself
---@field qname string? the name a DNS query asks for
---@field qtype integer? the type it asks for
---@field user string? the user name a client gave
---@field key string? what `identify` returned with `true`
---@field route string? the route's name
---@field proxy rx.Proxy? what a PROXY header said (nil without one): `.version`, `.via` (the proxy's address), `.authority`, `.alpn`, `.unique_id`, `.netns`, `.ssl` (`.is_tls`, `.has_cert`, `.is_verified`, `.version`, `.cn`, `.cipher`, `.sig_alg`, `.key_alg`), and `:tlv(type)` for the bytes of any other
---@field ja4 string? the JA4 fingerprint of a TLS client
---@field pool string? in hooks: the pool it went to
---@field backend string? in hooks: the backend it reached
---@field bytes_in integer? in hooks: what the client has sent so far
---@field bytes_out integer? in hooks: what it was sent so far
---@field age number? in hooks: seconds since it came
---@field time number? in hooks: when this happened, in seconds since 1970
---@field lost integer? in hooks: bytes that `on_data` was not shown so far

---@class refractium
local rx = {}

---What concerns the whole process. May be left out; may stand once.
---@param options rx.Server
function rx.server(options) end

---Where clients knock: `"A.B.C.D:P"`, `"[::]:P"`, `"*:P"` (both families), `"unix:/path"`, `"systemd:NAME"` (a socket that systemd opened and passed), or a list of these. P may be a range, as in `8000-8010`.
---@param address string|string[]
---@return fun(options: rx.Listen)
function rx.listen(address) end

---A protocol of your own, told by its first bytes. Returns a value for routes.
---@param name string
---@return fun(options: rx.ProtocolOptions): rx.Protocol
function rx.protocol(name) end

---Backends that share the load. Each is an address, `"host:port"`, `"[v6]:port"`, `"unix:/path"` or `"srv:_service._tcp.name"`, or a table `{ "10.0.0.2:80", weight = 2 }`. Returns a value for `to` and fallbacks.
---@param name string
---@return fun(options: rx.PoolOptions): rx.Pool
function rx.pool(name) end

---What a client that says this must meet. Run on every load and by `refractium check`; a load that fails one is refused.
---@param name string
---@return fun(options: rx.Test)
function rx.test(name) end

---A number that only grows, shown in `/metrics`; by custom its name ends in `_total`. In functions: `c:inc(label values ...)`, `c:add(n, label values ...)`. All workers count together, and a reload that keeps its name and labels keeps the count.
---@param name string
---@return fun(options: rx.CounterOptions): rx.Counter
function rx.counter(name) end

---A number that goes up and down, shown in `/metrics`. In functions: `g:set(v, label values ...)`, `g:add(n, label values ...)` (`n` may be negative), `g:inc(...)`, `g:dec(...)`.
---@param name string
---@return fun(options: rx.GaugeOptions): rx.Gauge
function rx.gauge(name) end

---A table that all workers share and that survives reloads. In functions: `t:get(key)`, `t:set(key, value, ttl)`, `t:add(key, value, ttl)` (only when it is not there; `true` if it was set), `t:incr(key, by, ttl)` (returns the sum), `t:delete(key)`. Keys are strings of at most 255 bytes, or numbers; values are strings of at most 4096 bytes, numbers, `true` and `false`. A `ttl`, which may be left out, is a duration or a number of seconds.
---@param name string
---@return fun(options: rx.SharedOptions): rx.Shared
function rx.shared(name) end

---Turns an address or a block away for a while: before anything is spent on its connections, and those it has are
---closed. Only in functions. False: the list has no room left.
---@param whom string "192.0.2.1", "2001:db8::/64"
---@param ttl string|number "10m", or seconds
---@return boolean
function rx.ban(whom, ttl) end

---Takes back exactly this ban; true when it was there. Only in functions.
---@param whom string
---@return boolean
function rx.unban(whom) end

---Functions that see connections, for the `hooks` of a server, a listener or a route. Returns a value.
---@param name string
---@return fun(options: rx.HookOptions): rx.Hook
function rx.hook(name) end

---From how many addresses an identity may be active at once. What is heard of identities comes from routes (`sessions`) and from logs (`rx.tail`); all workers share it, and a reload forgets nothing. Returns a value.
---@param name string
---@return fun(options: rx.SessionsOptions): rx.Sessions
function rx.sessions(name) end

---Follows a log that tells who is active from where. What is in the file at the start is the past. Rotated, truncated and late files are followed too.
---@param path string
---@return fun(options: rx.TailOptions)
function rx.tail(path) end

---Reads lines of the access log of Xray and V2Ray, for rx.tail.
---@type rx.LineParser
rx.xray = nil

---Calls a function again and again, on the hooks' thread.
---@param interval rx.Duration
---@param fn fun()
function rx.every(interval, fn) end

---A file for hooks to append to.
---@param path string
---@param options? { max?: rx.Size }
---@return rx.File
function rx.file(path, options) end

---Runs another file, named relative to this one, once; returns what it returns.
---@param path string
---@return any
function rx.include(path) end

---Close with a reset.
---@type rx.Action
rx.refuse = nil

---Close without a word.
---@type rx.Action
rx.drop = nil

---Hold the connection, reading slowly, never answering.
---@type rx.Action
rx.tarpit = nil

---Send back what comes.
---@type rx.Action
rx.echo = nil

---`rx.respond "text"` sends exactly these bytes, then closes. The bare `rx.respond` says what was recognised, in the client's own protocol.
---@type rx.Action
rx.respond = nil

---What `identify` returns to be asked again when there are more bytes.
---@type rx.More
rx.more = nil

---Lines for the log.
---@type rx.Log
rx.log = nil

---A regular expression for functions of the config.
---@type fun(pattern: string): rx.Re
rx.re = nil

---TLS 1.0 to 1.3, HTTPS among them (alias `https`)
---@type rx.Protocol
rx.tls = nil

---HTTP/1.x, and HTTP/2 without TLS
---@type rx.Protocol
rx.http = nil

---SSH, every client
---@type rx.Protocol
rx.ssh = nil

---SSH clients whose software string names a file-transfer program
---@type rx.Protocol
rx.sftp = nil

---VNC; its clients wait for the server's greeting
---@type rx.Protocol
rx.vnc = nil

---XMPP (Jabber)
---@type rx.Protocol
rx.xmpp = nil

---MQTT 3.1 to 5
---@type rx.Protocol
rx.mqtt = nil

---Remote Desktop
---@type rx.Protocol
rx.rdp = nil

---SOCKS 5
---@type rx.Protocol
rx.socks5 = nil

---SOCKS 4 and 4a
---@type rx.Protocol
rx.socks4 = nil

---PostgreSQL
---@type rx.Protocol
rx.postgres = nil

---DNS queries
---@type rx.Protocol
rx.dns = nil

---MySQL and MariaDB; their clients wait for the server's greeting
---@type rx.Protocol
rx.mysql = nil

---OpenVPN
---@type rx.Protocol
rx.openvpn = nil

---Redis
---@type rx.Protocol
rx.redis = nil

---SMTP; its clients wait for the server's greeting
---@type rx.Protocol
rx.smtp = nil

---IMAP; its clients wait for the server's greeting
---@type rx.Protocol
rx.imap = nil

---FTP clients that speak first
---@type rx.Protocol
rx.ftp = nil

---POP3; its clients wait for the server's greeting
---@type rx.Protocol
rx.pop3 = nil

---CoAP
---@type rx.Protocol
rx.coap = nil

---QUIC, HTTP/3 among it: versions 1 and 2, drafts, and by their common header all others
---@type rx.Protocol
rx.quic = nil

---DTLS 1.0 to 1.3
---@type rx.Protocol
rx.dtls = nil

---WireGuard
---@type rx.Protocol
rx.wireguard = nil

---STUN and TURN
---@type rx.Protocol
rx.stun = nil

---NTP
---@type rx.Protocol
rx.ntp = nil

---RTP and RTCP; its routes belong after others, it has the least to be told by
---@type rx.Protocol
rx.rtp = nil

---whatever it is
---@type rx.Protocol
rx.any = nil

---nothing said within `peek_timeout`: the client waits for the server
---@type rx.Protocol
rx.silent = nil

---The same as `rx.tls`.
---@type rx.Protocol
rx.https = nil

---It stands in a route for `rx.tls` and `rx.quic`: two routes that share all the entry says.
---@type rx.Protocol
rx.web = nil

return rx
