// SPDX-License-Identifier: MIT
// The one list of ways a connection ends. The word is the metric label, the log word, and `why` in Lua.
#pragma once

#include "base.h"
#include "proto.h"

// X(identifier, word, what it means)
#define RX_REASON_LIST(X)                                                                                    \
    X(DONE, "done", "both sides finished")                                                                   \
    X(CLIENT_GONE, "client_gone", "the client left before it could be routed")                               \
    X(CLIENT_RESET, "client_reset", "the client reset the connection, or its end failed")                    \
    X(SERVER_RESET, "server_reset", "the backend reset the connection, or its end failed")                   \
    X(IDLE_TIMEOUT, "idle_timeout", "no byte in either direction for idle_timeout")                          \
    X(NO_ROUTE, "no_route", "no route takes it and there is no fallback")                                    \
    X(TLS_INVALID, "tls_invalid", "a broken ClientHello and no fallback")                                    \
    X(TLS_OVERSIZE, "tls_oversize", "a ClientHello beyond peek_buffer_size and no fallback")                 \
    X(HTTP_INVALID, "http_invalid", "a broken HTTP request line and no fallback")                            \
    X(HTTP_OVERSIZE, "http_oversize", "an HTTP head beyond peek_buffer_size and no fallback")                \
    X(PROTO_INVALID, "proto_invalid", "first bytes that break their own protocol and no fallback")           \
    X(PROXY_MISSING, "proxy_missing", "no PROXY header from who must send one")                              \
    X(PROXY_INVALID, "proxy_invalid", "a PROXY header that is broken or cut")                                \
    X(DROPPED, "dropped", "the route says drop")                                                             \
    X(REFUSED, "refused", "the route says refuse")                                                           \
    X(BANNED, "banned", "the client's address is banned")                                                    \
    X(ANSWERED, "answered", "a built-in responder said its word")                                            \
    X(FILTER_REFUSED, "filter_refused", "a filter refused it")                                               \
    X(FILTER_FAILED, "filter_failed", "a filter failed, and nothing may pass it by")                         \
    X(BACKEND_DOWN, "backend_down", "no backend of the pool could be reached")                               \
    X(BACKEND_FULL, "backend_full", "every backend that is up has its max_connections")                      \
    X(LIMIT_SERVER, "limit_server", "max_connections of rx.server")                                          \
    X(LIMIT_LISTENER, "limit_listener", "max_connections of rx.listen")                                      \
    X(LIMIT_IP, "limit_ip", "max_connections_per_ip")                                                        \
    X(LIMIT_PENDING, "limit_pending", "max_pending")                                                         \
    X(LIMIT_ROUTE, "limit_route", "max_connections of the route")                                            \
    X(RATE_SERVER, "rate_server", "connection_rate of rx.server")                                            \
    X(RATE_LISTENER, "rate_listener", "connection_rate of rx.listen")                                        \
    X(RATE_IP, "rate_ip", "rate_per_ip")                                                                     \
    X(SESSION_LIMIT, "session_limit", "its identity is in use from as many other addresses as it may")       \
    X(SESSION_TAKEN, "session_taken", "another address has taken its identity's place")                      \
    X(NO_FDS, "no_fds", "no file descriptor was left")                                                       \
    X(NO_MEMORY, "no_memory", "memory ran out")                                                              \
    X(KILLED, "killed", "ended by the operator")                                                             \
    X(SHUTDOWN, "shutdown", "still open when drain_timeout ended")

enum rx_reason {
#define X(id, word, doc) RX_REASON_##id,
    RX_REASON_LIST(X)
#undef X
        RX_REASON_COUNT
};

const char *rx_reason_word(enum rx_reason why);
const char *rx_reason_doc(enum rx_reason why);
// Why a connection that nothing takes is turned away, given what its first bytes looked like.
enum rx_reason rx_reason_of_note(enum rx_note note);
