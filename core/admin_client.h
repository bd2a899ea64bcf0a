// SPDX-License-Identifier: MIT
// What the files of the admin socket share.
#pragma once

#include "admin.h"
#include "admin_place.h"
#include "admin_request.h"
#include "check.h"
#include "round.h"

enum { RX_ADMIN_CLIENTS = 64 };

// Someone at the socket. One request at a time: the next line is read when the answer to the last has been taken.
struct rx_admin_client {
    struct rx_admin_client *next, *prev;
    struct rx_admin *admin; // borrowed
    ev_io io;               // io.fd owned
    ev_timer patience;      // for the next request, or for an answer to be taken
    char in[RX_REQUEST_LINE + 1];
    size_t in_len;
    char *out; // owned: an answer on its way
    size_t out_len, out_at;
    bool is_waiting;        // its answer is being made
    bool is_eof, is_last;   // close after what is on its way
    struct rx_round *round; // borrowed; NULL: none
    bool is_reload, is_upgrade;   // waits for the outcome of one
};

struct rx_admin {
    struct ev_loop *loop;            // borrowed
    const struct rx_instance *about; // borrowed
    struct rx_admin_place place;
    ev_io io;
    ev_timer again;
    struct rx_admin_client clients; // list head
    unsigned n_clients;
    struct rx_rounds rounds;
    struct rx_findings findings;  // of the reload somebody waits for
    struct rx_findings news;      // the same of the upgrade
};

// admin_do.c: answers, now or later.
void rx_admin_do(struct rx_admin_client *c, const struct rx_request *r);
// The client goes: whatever is being made for it is for nobody.
void rx_admin_forget(struct rx_admin_client *c);
// Hears of reloads; data: the admin.
void rx_admin_on_finding(void *data, unsigned severity, const char *text, size_t len);
void rx_admin_on_outcome(void *data, bool is_taken, const char *line);
// The same of upgrades.
void rx_admin_on_upgrade_finding(void *data, unsigned severity, const char *text, size_t len);
void rx_admin_on_upgraded(void *data, bool is_done, const char *line);

// admin.c: sends what `j` holds, and frees it. The client is still there afterwards.
void rx_admin_answer(struct rx_admin_client *c, struct rx_json *j);
void rx_admin_refuse(struct rx_admin_client *c, const char *error);
