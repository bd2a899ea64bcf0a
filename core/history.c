// SPDX-License-Identifier: MIT
// A ring of entries. Leaves: JSON, one object for each.
#include "history.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

static void entry_fini(struct rx_history_entry *e)
{
    free(e->why);
    free(e->who);
    free(e->note);
    rx_findings_free(&e->findings);
    rx_diff_free(e->changes);
    *e = (struct rx_history_entry){ 0 };
}

struct rx_history_entry *rx_history_add(struct rx_history *h, const char *why, const char *who)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    struct rx_history_entry *e = &h->ring[h->n % RX_HISTORY_KEPT];
    entry_fini(e);
    e->number = ++h->n;
    e->at_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    e->why = strdup(why);
    e->who = strdup(who);
    return e;
}

struct rx_history_entry *rx_history_find(struct rx_history *h, uint64_t number)
{
    struct rx_history_entry *e = number ? &h->ring[(number - 1) % RX_HISTORY_KEPT] : NULL;
    return e && e->number == number ? e : NULL;
}

void rx_history_settle(struct rx_history_entry *e, enum rx_reload_result result, const char *note)
{
    if (!e)
        return;
    e->result = result;
    free(e->note);
    e->note = note ? strdup(note) : NULL;
}

const char *rx_reload_result_word(enum rx_reload_result result)
{
    static const char *const words[] = { "accepted", "refused", "canary", "promoted", "rolled_back", "replaced" };
    return words[result];
}

static void entry_json(const struct rx_history_entry *e, struct rx_json *j)
{
    rx_json_open(j, '{');
    rx_json_key(j, "number");
    rx_json_number(j, e->number);
    rx_json_key(j, "time_ms");
    rx_json_number(j, e->at_ms);
    rx_json_key(j, "why");
    rx_json_string(j, e->why);
    rx_json_key(j, "who");
    rx_json_string(j, e->who);
    rx_json_key(j, "result");
    rx_json_string(j, rx_reload_result_word(e->result));
    rx_json_key(j, "note");
    rx_json_string(j, e->note);
    rx_json_key(j, "findings");
    rx_json_open(j, '[');
    for (unsigned i = 0; i < e->findings.n && i < RX_HISTORY_FINDINGS; i++)
        rx_json_string(j, e->findings.list[i].text);
    rx_json_close(j);
    rx_json_key(j, "changes");
    rx_diff_json(e->changes, j);
    rx_json_key(j, "took_us");
    rx_json_number(j, e->took_us);
    rx_json_key(j, "from_generation");
    rx_json_number(j, e->from);
    rx_json_key(j, "to_generation");
    if (e->to)
        rx_json_number(j, e->to);
    else
        rx_json_null(j);
    rx_json_close(j);
}

void rx_history_json(const struct rx_history *h, struct rx_json *j)
{
    rx_json_open(j, '[');
    for (uint64_t k = 0; k < h->n && k < RX_HISTORY_KEPT; k++)
        entry_json(&h->ring[(h->n - 1 - k) % RX_HISTORY_KEPT], j);
    rx_json_close(j);
}

void rx_history_fini(struct rx_history *h)
{
    for (unsigned i = 0; i < RX_HISTORY_KEPT; i++)
        entry_fini(&h->ring[i]);
    h->n = 0;
}

void rx_history_cut(struct rx_history_entry *e)
{
    while (e->findings.n > RX_HISTORY_FINDINGS)
        free(e->findings.list[--e->findings.n].text);
}
