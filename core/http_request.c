// SPDX-License-Identifier: MIT
// Enters: requests of monitoring. Leaves: texts made at that moment, on the engine's thread, where everything they show
// may be read. What only workers know is asked of them while the connection is suspended. Nothing here changes anything.
#ifndef RX_WITHOUT_METRICS

#include "http_request.h"

#include <stdlib.h>
#include <string.h>

#include "check.h"
#include "embed.h"
#include "metrics.h"

static const char TEXT[] = "text/plain; charset=utf-8", PROMETHEUS[] = "text/plain; version=0.0.4; charset=utf-8",
                  JSON[] = "application/json", HTML[] = "text/html; charset=utf-8", BYTES[] = "application/octet-stream";

struct answer {
    unsigned status;
    const char *type;
    const char *policy; // NULL: nothing may be done with it
    const char *allow;  // with 405
    char *text;
    size_t len;
    enum MHD_ResponseMemoryMode memory;
};

static void add_headers(struct MHD_Response *r, const struct answer *a)
{
    MHD_add_response_header(r, MHD_HTTP_HEADER_CONTENT_TYPE, a->type);
    MHD_add_response_header(r, MHD_HTTP_HEADER_CACHE_CONTROL, "no-store");
    MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
    MHD_add_response_header(r, "Content-Security-Policy",
                            a->policy ? a->policy : "default-src 'none'; frame-ancestors 'none'");
    MHD_add_response_header(r, "Cross-Origin-Resource-Policy", "same-origin");
    MHD_add_response_header(r, "Referrer-Policy", "no-referrer");
    if (a->status == MHD_HTTP_METHOD_NOT_ALLOWED)
        MHD_add_response_header(r, MHD_HTTP_HEADER_ALLOW, a->allow);
    if (a->status == MHD_HTTP_UNAUTHORIZED) {
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Bearer");
        MHD_add_response_header(r, MHD_HTTP_HEADER_WWW_AUTHENTICATE, "Basic realm=\"refractium\", charset=\"UTF-8\"");
    }
}

static enum MHD_Result answer(struct MHD_Connection *c, const struct answer *a)
{
    struct MHD_Response *r = MHD_create_response_from_buffer(a->len, a->text, a->memory);
    if (!r) {
        if (a->memory == MHD_RESPMEM_MUST_FREE)
            free(a->text);
        return MHD_NO;
    }
    add_headers(r, a);
    enum MHD_Result rc = MHD_queue_response(c, a->status, r);
    MHD_destroy_response(r);
    return rc;
}

static enum MHD_Result say(struct MHD_Connection *c, unsigned status, const char *words)
{
    return answer(c, &(struct answer){ .status = status, .type = TEXT, .text = (char *)words, .len = strlen(words) });
}

static enum MHD_Result say_allowed(struct MHD_Connection *c, const char *allow, const char *words)
{
    return answer(c, &(struct answer){ .status = MHD_HTTP_METHOD_NOT_ALLOWED, .type = TEXT, .allow = allow,
                                       .text = (char *)words, .len = strlen(words) });
}

// Takes the text over.
static enum MHD_Result give(struct MHD_Connection *c, unsigned status, const char *type, char *text, size_t len)
{
    return answer(c, &(struct answer){ .status = status, .type = type, .text = text, .len = len,
                                       .memory = MHD_RESPMEM_MUST_FREE });
}

static const char *argument(struct MHD_Connection *c, const char *name)
{
    return MHD_lookup_connection_value(c, MHD_GET_ARGUMENT_KIND, name);
}

// ---- what is answered at once -------------------------------------------------------------------------------------------

static enum MHD_Result send_page(const struct rx_http *h, struct MHD_Connection *c)
{
    const struct rx_embed *page = rx_embed_find("dashboard.html");
    return answer(c, &(struct answer){ .status = MHD_HTTP_OK, .type = HTML, .policy = h->policy, .text = (char *)page->text,
                                       .len = (size_t)(page->end - page->text) });
}

static enum MHD_Result send_metrics(struct MHD_Connection *c, const struct rx_instance *i)
{
    char *text = NULL;
    size_t len = 0;
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return MHD_NO;
    rx_metrics_print(out, i);
    if (fclose(out)) {
        free(text);
        return MHD_NO;
    }
    return give(c, MHD_HTTP_OK, PROMETHEUS, text, len);
}

static enum MHD_Result send_status(struct MHD_Connection *c, const struct rx_instance *i)
{
    struct rx_json j = { 0 };
    char *text;
    size_t len;
    rx_status_json(&j, i);
    if (rx_json_take(&j, &text, &len))
        return MHD_NO;
    return give(c, MHD_HTTP_OK, JSON, text, len);
}

// A type that a page of another origin cannot send unasked.
static bool is_bytes(struct MHD_Connection *c)
{
    const char *type = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_TYPE);
    return type && !strncasecmp(type, BYTES, sizeof BYTES - 1) && (!type[sizeof BYTES - 1] || strchr("; ", type[sizeof BYTES - 1]));
}

static enum MHD_Result send_explain(const struct rx_http_ask *ask)
{
    struct MHD_Connection *c = ask->link;
    const char *transport = argument(c, "transport"), *listener = argument(c, "listener"), *from = argument(c, "from");
    struct rx_args a = { .is_json = true, .listener = listener && *listener ? listener : NULL,
                         .from = from && *from ? from : NULL,
                         .is_udp = transport && !strcmp(transport, "udp") };
    char *text = NULL;
    size_t len = 0;
    if (!is_bytes(c))
        return say(c, MHD_HTTP_UNSUPPORTED_MEDIA_TYPE, "needs Content-Type: application/octet-stream\n");
    if (transport && !a.is_udp && strcmp(transport, "tcp"))
        return say(c, MHD_HTTP_BAD_REQUEST, "transport: must be tcp or udp\n");
    FILE *out = open_memstream(&text, &len);
    if (!out)
        return MHD_NO;
    int code = rx_explain_bytes(ask->http->instance->reload->conf, &a, (const uint8_t *)ask->body, ask->n_body, out);
    if (fclose(out)) {
        free(text);
        return MHD_NO;
    }
    return give(c, code ? MHD_HTTP_BAD_REQUEST : MHD_HTTP_OK, code ? TEXT : JSON, text, len);
}

// ---- what workers are asked ----------------------------------------------------------------------------------------------

static void leave(struct rx_http_ask *ask)
{
    struct rx_http *h = ask->http;
    if (!ask->round)
        return;
    ask->round->done = NULL;
    ask->round = NULL;
    *(ask->prev ? &ask->prev->next : &h->waiting) = ask->next;
    if (ask->next)
        ask->next->prev = ask->prev;
    h->n_waiting--;
}

static void http_on_round(struct rx_round *r)
{
    struct rx_http_ask *ask = r->asker;
    struct rx_http *h = ask->http;
    struct rx_json j = { 0 };
    leave(ask);
    rx_round_json(r, &j);
    if (rx_json_take(&j, &ask->text, &ask->len))
        ask->text = NULL;
    MHD_resume_connection(ask->link);
    rx_http_serve(h);
}

// NULL, or what is wrong.
static const char *take_query(struct MHD_Connection *c, struct rx_flow_query *q)
{
    static const char *const words[] = {
#define X(id, word) word,
        RX_FLOW_SORTS(X)
#undef X
    };
    const char *sort = argument(c, "sort"), *limit = argument(c, "limit"), *filter = argument(c, "filter");
    unsigned i = 0;
    while (sort && i < RX_COUNT(words) && strcmp(words[i], sort))
        i++;
    if (i == RX_COUNT(words))
        return "sort: must be rate, bytes, age or idle\n";
    *q = (struct rx_flow_query){ .sort = (enum rx_flow_sort)i, .limit = 20 };
    if (limit) {
        char *end;
        unsigned long n = strtoul(limit, &end, 10);
        if (*limit < '0' || *limit > '9' || *end || !n || n > RX_FLOW_MOST)
            return "limit: must be a whole number between 1 and 500\n";
        q->limit = (uint32_t)n;
    }
    if (filter && strlen(filter) >= sizeof q->filter)
        return "filter: must be text of at most 63 bytes\n";
    if (filter)
        strcpy(q->filter, filter);
    return NULL;
}

static enum MHD_Result send_flows(struct rx_http_ask *ask)
{
    struct rx_http *h = ask->http;
    struct rx_flow_query q;
    const char *wrong = take_query(ask->link, &q);
    if (ask->text) {
        char *text = ask->text;
        ask->text = NULL;
        return give(ask->link, MHD_HTTP_OK, JSON, text, ask->len);
    }
    if (wrong)
        return say(ask->link, MHD_HTTP_BAD_REQUEST, wrong);
    if (h->is_closing || h->n_waiting >= RX_HTTP_WAITING || !(ask->round = rx_round_send(&h->rounds, &q, 0, http_on_round, ask)))
        return say(ask->link, MHD_HTTP_SERVICE_UNAVAILABLE, "too busy\n");
    ask->prev = NULL;
    ask->next = h->waiting;
    if (h->waiting)
        h->waiting->prev = ask;
    h->waiting = ask;
    h->n_waiting++;
    MHD_suspend_connection(ask->link);
    return MHD_YES;
}

void rx_http_give_up(struct rx_http *h)
{
    h->is_closing = true;
    while (h->waiting) {
        struct rx_http_ask *ask = h->waiting;
        leave(ask);
        MHD_resume_connection(ask->link);
    }
}

// ---- a request -----------------------------------------------------------------------------------------------------------

static enum MHD_Result send_for(struct rx_http_ask *ask, const char *path)
{
    const struct rx_instance *i = ask->http->instance;
    if (!strcmp(path, "/"))
        return send_page(ask->http, ask->link);
    if (!strcmp(path, "/metrics"))
        return send_metrics(ask->link, i);
    if (!strcmp(path, "/status.json"))
        return send_status(ask->link, i);
    if (!strcmp(path, "/flows.json"))
        return send_flows(ask);
    return say(ask->link, MHD_HTTP_NOT_FOUND,
               "there is / (the dashboard), /metrics, /status.json, /flows.json, /explain, /healthz and /readyz\n");
}

static enum MHD_Result decide(struct rx_http_ask *ask, const char *path, const char *method)
{
    struct MHD_Connection *c = ask->link;
    const struct rx_instance *i = ask->http->instance;
    const struct rx_conf *conf = i->reload->conf;
    bool is_read = !strcmp(method, MHD_HTTP_METHOD_GET) || !strcmp(method, MHD_HTTP_METHOD_HEAD);
    bool is_explain = !strcmp(path, "/explain");
    if (is_explain && strcmp(method, MHD_HTTP_METHOD_POST))
        return say_allowed(c, "POST", "only POST, with a client's first bytes as the body\n");
    if (!is_explain && !is_read)
        return say_allowed(c, "GET, HEAD", "only GET and HEAD\n");
    if (!strcmp(path, "/healthz"))
        return say(c, MHD_HTTP_OK, "ok\n");
    if (!strcmp(path, "/readyz"))
        return i->reload->is_stopped ? say(c, MHD_HTTP_SERVICE_UNAVAILABLE, "stopping\n") : say(c, MHD_HTTP_OK, "ready\n");
    if (!rx_http_is_host(MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_HOST), conf->metrics_host))
        return say(c, MHD_HTTP_FORBIDDEN, "not under this name: ask by IP address or localhost, or set metrics_host\n");
    if (!rx_http_is_token(MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_AUTHORIZATION), conf->metrics_token))
        return say(c, MHD_HTTP_UNAUTHORIZED, "needs the metrics_token: Authorization: Bearer ...\n");
    return is_explain ? send_explain(ask) : send_for(ask, path);
}

// Only /explain has a use for a body; no other is kept, and none may be longer.
static enum MHD_Result take_body(struct rx_http_ask *ask, const char *path, const char *p, size_t *n)
{
    bool is_wanted = !strcmp(path, "/explain");
    if (ask->n_body + *n > RX_HTTP_BODY)
        return MHD_NO;
    if (is_wanted && !ask->body && !(ask->body = malloc(RX_HTTP_BODY)))
        return MHD_NO;
    if (is_wanted)
        memcpy(ask->body + ask->n_body, p, *n);
    ask->n_body += *n;
    *n = 0;
    return MHD_YES;
}

static bool is_announced_too_long(struct MHD_Connection *c)
{
    const char *len = MHD_lookup_connection_value(c, MHD_HEADER_KIND, MHD_HTTP_HEADER_CONTENT_LENGTH);
    return len && strtoull(len, NULL, 10) > RX_HTTP_BODY;
}

enum MHD_Result rx_http_on_request(void *data, struct MHD_Connection *c, const char *path, const char *method,
                                   const char *version, const char *body, size_t *n_body, void **state)
{
    struct rx_http_ask *ask = *state;
    (void)version;
    if (ask)
        return *n_body ? take_body(ask, path, body, n_body) : decide(ask, path, method);
    if (!(*state = ask = calloc(1, sizeof *ask)))
        return MHD_NO;
    ask->http = data;
    ask->link = c;
    // The head is there; the answer is given when the body, if any, is.
    return is_announced_too_long(c) ? say(c, MHD_HTTP_CONTENT_TOO_LARGE, "at most 16384 bytes\n") : MHD_YES;
}

void rx_http_on_done(void *data, struct MHD_Connection *c, void **state, enum MHD_RequestTerminationCode why)
{
    struct rx_http_ask *ask = *state;
    (void)data, (void)c, (void)why;
    if (!ask)
        return;
    leave(ask);
    free(ask->body);
    free(ask->text);
    free(ask);
    *state = NULL;
}

#endif
