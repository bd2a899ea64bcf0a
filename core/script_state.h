// SPDX-License-Identifier: MIT
// What the files script*.c share: one Lua state and the gate through which every call of it goes. No other file may
// include this, nor lua.h.
#pragma once

#include <lauxlib.h>
#include <lua.h>

#include "metric.h"
#include "script.h"
#include "store.h"

enum { RX_SCRIPT_KEYS = 8, RX_SCRIPT_KEY_MAX = 255, RX_SCRIPT_RES = 10000 };

struct rx_script_dynamic;

struct rx_script {
    lua_State *L; // owned
    struct rx_conf *conf; // borrowed: it owns this; NULL while loading
    int *refs;            // owned
    uint32_t n_refs;
    struct rx_call call;
    struct rx_view_door view;
    const struct rx_script_conn *conn; // during a call
    struct rx_script_dynamic *dynamics; // owned
    unsigned n_dynamics;
    struct rx_target action; // an action a function chose
    char keys[RX_SCRIPT_KEYS][RX_SCRIPT_KEY_MAX + 1]; // results of identify live here for a while: several may match one connection
    unsigned next_key;
    struct rx_metric_key labels;        // of the next use of a metric
    struct rx_store_value value;        // the value shared_set sets; a text is the caller's
    struct rx_store **own;              // owned: tables where no connection is served, made on first use
    struct rx_regex **res; // owned, and each of them: rx.re
    uint32_t n_res;
    unsigned n_searches;
    size_t memory;
    struct {
        uint8_t *bytes; // owned: what the state is made in
        size_t used;
        bool is_closed; // it is made
    } nest;
    char *text; // owned: the text an rx.respond of a function says
    struct rx_sink **sinks; // owned: the config's files, in the hook thread's state
    uint32_t n_sinks;
    char wrong[400]; // what the last call failed with; empty: it did not
    bool is_mute;    // says nothing to the log: the answer alone is wanted
    uint64_t lent_until_ns; // calls leave no trace, and fail from then on; 0: it is not lent
    char buf[512]; // answers of conn_text that have to be written
    char entry[RX_STORE_TEXT_MAX]; // the text shared_get answers with
};

// The script whose call runs on this thread: door functions without an argument that tells it ask here. NULL: none.
extern _Thread_local struct rx_script *rx_script_running;

// Calls function number fn. True: `results` values are on the stack, which was empty; the caller empties it.
bool rx_script_call(struct rx_script *s, uint32_t fn, int results);
// The same, about a connection.
bool rx_script_call_about(struct rx_script *s, uint32_t fn, const struct rx_script_conn *c, int results);
// Fills s->view (script_view.c).
void rx_script_view_init(struct rx_script *s);
// What scripts keep (script_store.c).
extern const struct rx_state_door rx_script_state_door;
void rx_script_state_free(struct rx_script *s);
// The config's files, opened; -1 after what is wrong was reported (script_hook.c).
int rx_script_sinks_open(struct rx_script *s, rx_report_fn *report, void *data);
void rx_script_sinks_close(struct rx_script *s);
// Frees the targets that functions named (script_call.c).
void rx_script_dynamics_free(struct rx_script *s);
