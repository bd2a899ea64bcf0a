// SPDX-License-Identifier: MIT
// The calls of hooks: on_open, on_data, on_close and rx.every on the hook thread, filter in a worker; and the files
// they write. Enters: an event. Leaves: nothing, or what a filter made of the bytes.
#include "script_state.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "home.h"
#include "hook.h"
#include "log.h"
#include "route.h"
#include "sink.h"

enum { FILTER_MAX = 1024 * 1024 }; // bytes one call of a filter may pass on

static bool call_about_event(struct rx_script *s, uint32_t fn, const struct rx_hook_event *e, const uint8_t *p,
                             size_t n, int results)
{
    const struct rx_hooked *h = e->hooked;
    struct rx_ask ask = { .p = p, .n = (uint32_t)n, .from = &h->client, .to_port = h->to_port,
                          .proxied = h->proxied, .id = h->id, .is_udp = h->is_udp };
    struct rx_script_conn c = { .ask = &ask,
                                .facts = h->known ? &h->facts : NULL,
                                .known = h->known,
                                .listen = h->listen,
                                .route = h->route,
                                .event = e };
    s->call.direction = e->direction;
    s->call.serial++;
    return rx_script_call_about(s, fn, &c, results);
}

void rx_script_hook(struct rx_script *s, uint32_t fn, const struct rx_hook_event *e, const uint8_t *p, size_t n)
{
    if (s && call_about_event(s, fn, e, p, n, 0))
        lua_settop(s->L, 0);
}

void rx_script_every(struct rx_script *s, uint32_t fn)
{
    if (!s)
        return;
    s->call.ptr = NULL;
    s->call.len = 0;
    s->call.serial++;
    if (rx_script_call(s, fn, 0))
        lua_settop(s->L, 0);
}

// What the filter returned goes on in the place of what it saw.
static enum rx_filter replace(struct rx_script *s, uint32_t fn, struct rx_filtered *io)
{
    size_t len;
    const char *text = lua_tolstring(s->L, 1, &len);
    uint8_t *copy = len <= FILTER_MAX ? malloc(len + 1) : NULL;
    if (!copy) {
        rx_log_limited(RX_LOG_WARN, "script: %s: filter returned %zu bytes, more than can be passed on",
                       s->conf->fns[fn].where, len);
        return RX_FILTER_FAILED;
    }
    memcpy(copy, text, len);
    free(io->owned);
    io->p = io->owned = copy;
    io->n = len;
    return RX_FILTER_PASS;
}

enum rx_filter rx_script_filter(struct rx_script *s, uint32_t fn, const struct rx_hook_event *e, struct rx_filtered *io)
{
    enum rx_filter verdict = RX_FILTER_PASS;
    if (!s || !call_about_event(s, fn, e, io->p, io->n, 1))
        return RX_FILTER_FAILED;
    if (lua_type(s->L, 1) == LUA_TSTRING)
        verdict = replace(s, fn, io);
    else if (lua_isboolean(s->L, 1))
        verdict = RX_FILTER_REFUSED;
    lua_settop(s->L, 0);
    return verdict;
}

// ---- files --------------------------------------------------------------------------------------------------------

int rx_script_sinks_open(struct rx_script *s, rx_report_fn *report, void *data)
{
    const struct rx_conf *conf = s->conf;
    s->sinks = calloc(conf->n_files + 1, sizeof(struct rx_sink *));
    for (uint32_t i = 0; s->sinks && i < conf->n_files; i++) {
        const struct rx_out_file *f = &conf->files[i];
        if ((s->sinks[i] = rx_sink_new(&s->conf->home->sinks, f))) {
            s->n_sinks++;
            continue;
        }
        char line[1024];
        int n = snprintf(line, sizeof line, "%s: rx.file \"%s\": %s", f->where, f->path, strerror(errno));
        report(data, RX_REPORT_ERROR, line, RX_MIN((size_t)n, sizeof line - 1));
        return -1;
    }
    return s->sinks ? 0 : -1;
}

void rx_script_sinks_close(struct rx_script *s)
{
    for (uint32_t i = 0; i < s->n_sinks; i++)
        rx_sink_free(s->sinks[i]);
    free(s->sinks);
}
