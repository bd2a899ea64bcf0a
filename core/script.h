// SPDX-License-Identifier: MIT
// The door to Lua. Only the files script*.c include lua.h: script.c makes the states and holds the gate every call goes
// through, script_call.c makes the calls, script_view.c answers what running functions ask.
#pragma once

#include <stdio.h>

#include "args.h"
#include "build.h"
#include "seen.h"
#include "xray.h"

// Loads the config file (when there is one) and the command line's wishes into a generation. NULL when anything
// was wrong; seen (NULL: nobody asks) gets the files that were looked at, in either case; every finding went to `report`. The caller owns one reference.
struct rx_conf *rx_script_load(struct rx_home *home, const struct rx_args *a, struct rx_seen *seen, rx_report_fn *report, void *data);
// ---- functions of the config, in the path -----------------------------------------------------------------------
//
// A script is a Lua state in which the config has run again, for one thread at a time. All calls are bounded by the
// script budget; a function that outruns it is quarantined for its generation. With a NULL script every function is
// as if it had failed.

// As a config's path: a config that has a route for every protocol that ships.
#define RX_SCRIPT_EVERYTHING "(every protocol)"

struct rx_script;
struct rx_ask;
struct rx_facts;
struct rx_hook_event;
struct rx_fn;

// What a function is told of a connection; borrowed for the call.
struct rx_script_conn {
    const struct rx_ask *ask;
    const struct rx_facts *facts; // NULL: nothing is known yet
    const struct rx_known *known; // NULL: not recognised
    const struct rx_listen *listen;
    const struct rx_route *route; // NULL: none yet
    const struct rx_hook_event *event; // NULL: this is no hook's call
};

// One more state a worker for a generation that has functions, one for its hooks, one for its tails; 0, or -1 with the findings reported.
int rx_script_spawn(struct rx_conf *conf, const struct rx_args *a, unsigned n, rx_report_fn *report, void *data);
void rx_script_free(struct rx_script *s);

// Bytes the Lua state holds, garbage included.
size_t rx_script_memory(const struct rx_script *s);

enum rx_verdict rx_script_identify(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_facts *f);

// What a listener's identify says of the first bytes. A function that fails says nothing.
struct rx_said_of {
    enum rx_said said;
    const struct rx_known *known; // RX_SAID_PROTOCOL; NULL: one that no route of the config names
    struct rx_text key;           // what it learned, with RX_SAID_PROTOCOL; ptr NULL: nothing
    const struct rx_target *to;   // RX_SAID_TARGET; lives as long as the generation, an action until the next call
};
void rx_script_listen(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, struct rx_said_of *out);

// What the function of a health check says of an answer: *v, and why it is bad, where it tells. False: it failed.
bool rx_script_expect(struct rx_script *s, uint32_t fn, const uint8_t *p, uint32_t n, enum rx_verdict *v, char *why,
                      size_t size);
bool rx_script_when(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c);
// NULL: the function failed or said nil. Lives as long as the generation.
const struct rx_target *rx_script_target(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c);
// The number of a primary of the roster, or -1: the pool's own balance decides.
int64_t rx_script_policy(struct rx_script *s, const struct rx_script_conn *c, const struct rx_pool *pool,
                         const struct rx_roster *roster);
bool rx_script_accept(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c);

// Who a connection is, by sessions: bytes written to `id`; 0: nobody in particular, or the function failed.
uint32_t rx_script_by(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c, char *id, uint32_t size);
// From how many addresses an identity may come; 0: as many as others.
uint32_t rx_script_limits(struct rx_script *s, uint32_t fn, const char *id, uint32_t len);
// What a tailed line says; the words of *out are valid until the next call.
enum rx_tail_line rx_script_parse(struct rx_script *s, uint32_t fn, const char *line, size_t n, struct rx_tail_said *out);

// What the last call failed with, with its file and line; NULL: it did not fail.
const char *rx_script_wrong(const struct rx_script *s);
// While mute, neither functions nor their failures say anything to the log.
void rx_script_mute(struct rx_script *s, bool is_mute);

// `refractium import` (script_import.c): a predecessor's config to `out` as refractium.lua. `format` may be NULL.
// 0, or 1 with a word why (malloc'ed; NULL: out of memory).
int rx_script_import(const char *name, const char *text, size_t len, const char *format, FILE *out, char **why);
// For script_import.c: the runtime's modules can be required.
struct lua_State;
void rx_script_preload(struct lua_State *L);

// For who asks a generation that is served, on the one thread that may: until it is given back calls leave no trace (they
// log nothing, count no error, quarantine nothing), and all together they take at most so long; then each fails. 0: back.
void rx_script_lend(struct rx_script *s, uint64_t ms);

// What a function last failed with; false: it has not.
bool rx_script_last_wrong(const struct rx_fn *fn, char *text, size_t size, uint64_t *at_ms);

// From now on calls on this thread are shown in `pulse`.
struct rx_pulse;
void rx_script_show(struct rx_pulse *pulse);
// What runs on the thread of that pulse, "refractium.lua:31", from any thread; false: no function of a config.
bool rx_script_doing(const struct rx_pulse *pulse, char *text, size_t size);

// The text of the default refractium.lua, as `init` writes it.
const char *rx_script_template(size_t *len);
