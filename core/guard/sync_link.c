// SPDX-License-Identifier: MIT
// Enters: where the Redis is. Leaves: its news, and answers; word when it comes and goes.
//
// A link is down, asks for an address, joins, or is up. It is up when the script is loaded and the channel subscribed;
// whatever fails on the way, or later, ends both connections, and after a pause it begins anew, with the other family
// when a name was looked up. hiredis calls back with NULL for calls that a dying connection leaves unanswered, which is
// never looked at. What Redis says is printed escaped.
#include "sync_link.h"

#ifndef RX_WITHOUT_REDIS

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hiredis/async.h>
#include <hiredis/adapters/libev.h>

#include "asker.h"
#include "embed.h"
#include "log.h"

enum { SAY, HEAR, ENDS };
enum room { DOWN, ASKING, JOINING, UP };

#define PAUSE_FIRST_S 0.1
#define PAUSE_MOST_S 2.
#define JOIN_S 3.

struct rx_sync_link {
    struct ev_loop *loop; // borrowed: the engine's
    struct rx_sync_url url;
    struct rx_sync_link_ear ear;
    struct rx_asker asker;
    redisAsyncContext *ac[ENDS]; // owned by hiredis, which frees what fails; NULL: none
    enum room room;
    ev_timer timer; // DOWN: try again; ASKING, JOINING: that took too long
    double pause_s;
    int family; // of the next address asked for
    bool is_told_down, has_script, is_heard;
    unsigned waiting;
    char sha[41];
    char channel[96];
};

static void arm(struct rx_sync_link *k, double after_s)
{
    ev_timer_stop(k->loop, &k->timer);
    ev_timer_set(&k->timer, after_s, 0.);
    ev_timer_start(k->loop, &k->timer);
}

static void hang_up(struct rx_sync_link *k)
{
    for (int i = 0; i < ENDS; i++) {
        redisAsyncContext *ac = k->ac[i];
        k->ac[i] = NULL;
        if (ac) {
            ac->data = NULL;
            redisAsyncFree(ac);
        }
    }
}

void rx_sync_link_fail(struct rx_sync_link *k, const char *why)
{
    char text[200];
    if (k->room == DOWN)
        return;
    if (k->room != UP)
        k->family = k->family == AF_INET ? AF_INET6 : AF_INET;
    k->room = DOWN;
    k->waiting = 0;
    k->has_script = k->is_heard = false;
    rx_log_escape((const uint8_t *)why, strlen(why), text, sizeof text);
    hang_up(k);
    arm(k, k->pause_s);
    k->pause_s = RX_MIN(k->pause_s * 2, PAUSE_MOST_S);
    if (!k->is_told_down) {
        k->is_told_down = true;
        k->ear.down(k->ear.data, text);
    }
}

// ---- joining ----------------------------------------------------------------------------------------------------------

static void settle(struct rx_sync_link *k)
{
    if (!k->has_script || !k->is_heard || k->room != JOINING)
        return;
    k->room = UP;
    k->pause_s = PAUSE_FIRST_S;
    k->is_told_down = false;
    ev_timer_stop(k->loop, &k->timer);
    k->ear.up(k->ear.data);
}

// True: it is no answer, or a refusal, which ends the link.
static bool is_refused(struct rx_sync_link *k, const redisReply *r)
{
    if (r && r->type == REDIS_REPLY_ERROR)
        rx_sync_link_fail(k, r->str);
    return !r || r->type == REDIS_REPLY_ERROR;
}

static void link_on_greeted(redisAsyncContext *ac, void *reply, void *data)
{
    (void)ac;
    is_refused(data, reply);
}

static void link_on_loaded(redisAsyncContext *ac, void *reply, void *data)
{
    (void)ac;
    struct rx_sync_link *k = data;
    const redisReply *r = reply;
    if (is_refused(k, r))
        return;
    if (r->type != REDIS_REPLY_STRING || r->len != sizeof k->sha - 1) {
        rx_sync_link_fail(k, "its answer to SCRIPT LOAD is none");
        return;
    }
    memcpy(k->sha, r->str, sizeof k->sha);
    k->has_script = true;
    settle(k);
}

static void link_on_news(redisAsyncContext *ac, void *reply, void *data)
{
    (void)ac;
    struct rx_sync_link *k = data;
    const redisReply *r = reply;
    if (is_refused(k, r) || r->type != REDIS_REPLY_ARRAY || r->elements != 3 ||
        r->element[0]->type != REDIS_REPLY_STRING)
        return;
    if (!strcmp(r->element[0]->str, "subscribe")) {
        k->is_heard = true;
        settle(k);
    } else if (!strcmp(r->element[0]->str, "message") && r->element[2]->type == REDIS_REPLY_STRING) {
        k->ear.news(k->ear.data, r->element[2]->str, (size_t)r->element[2]->len);
    }
}

static void link_on_connect(const redisAsyncContext *ac, int status)
{
    struct rx_sync_link *k = ac->data;
    if (status == REDIS_OK || !k)
        return;
    char why[200];
    snprintf(why, sizeof why, "%s", ac->errstr);
    for (int i = 0; i < ENDS; i++)
        if (k->ac[i] == ac)
            k->ac[i] = NULL; // hiredis frees it
    rx_sync_link_fail(k, why);
}

static void link_on_disconnect(const redisAsyncContext *ac, int status)
{
    (void)status;
    link_on_connect(ac, REDIS_ERR); // the same to us
}

static bool greet(struct rx_sync_link *k, redisAsyncContext *ac)
{
    const struct rx_sync_url *u = &k->url;
    int rc = 0;
    if (*u->user)
        rc |= redisAsyncCommand(ac, link_on_greeted, k, "AUTH %s %s", u->user, u->password);
    else if (*u->password)
        rc |= redisAsyncCommand(ac, link_on_greeted, k, "AUTH %s", u->password);
    if (u->db)
        rc |= redisAsyncCommand(ac, link_on_greeted, k, "SELECT %u", u->db);
    return rc == REDIS_OK;
}

static bool dial(struct rx_sync_link *k, int end, const char *address)
{
    redisAsyncContext *ac = *k->url.host ? redisAsyncConnect(address, k->url.port) : redisAsyncConnectUnix(k->url.path);
    if (!ac || ac->err || redisLibevAttach(k->loop, ac) != REDIS_OK) {
        char why[200];
        snprintf(why, sizeof why, "%s", ac ? ac->errstr : "out of memory");
        if (ac)
            redisAsyncFree(ac);
        rx_sync_link_fail(k, why);
        return false;
    }
    fcntl(ac->c.fd, F_SETFD, FD_CLOEXEC);
    ac->data = k;
    k->ac[end] = ac;
    redisAsyncSetConnectCallback(ac, link_on_connect);
    redisAsyncSetDisconnectCallback(ac, link_on_disconnect);
    if (!greet(k, ac)) {
        rx_sync_link_fail(k, "out of memory");
        return false;
    }
    return true;
}

static void join(struct rx_sync_link *k, const char *address)
{
    const struct rx_embed *script = rx_embed_find("sync.lua");
    k->room = JOINING;
    arm(k, JOIN_S);
    if (!dial(k, SAY, address) || !dial(k, HEAR, address))
        return;
    int rc = redisAsyncCommand(k->ac[SAY], link_on_loaded, k, "SCRIPT LOAD %b", script->text,
                               (size_t)(script->end - script->text));
    rc |= redisAsyncCommand(k->ac[HEAR], link_on_news, k, "SUBSCRIBE %s", k->channel);
    if (rc != REDIS_OK)
        rx_sync_link_fail(k, "out of memory");
}

// ---- its address --------------------------------------------------------------------------------------------------------

static void link_on_address(void *data, int status, int timeouts, struct hostent *host)
{
    (void)timeouts;
    struct rx_sync_link *k = data;
    char text[INET6_ADDRSTRLEN];
    if (status == ARES_EDESTRUCTION || k->room != ASKING)
        return;
    if (status == ARES_SUCCESS && host->h_addr_list[0] &&
        inet_ntop(host->h_addrtype, host->h_addr_list[0], text, sizeof text)) {
        join(k, text);
        return;
    }
    char why[400];
    snprintf(why, sizeof why, "%s: %s", k->url.host, ares_strerror(status));
    rx_sync_link_fail(k, why);
}

static void begin(struct rx_sync_link *k)
{
    unsigned char bytes[16];
    bool is_name = *k->url.host && inet_pton(AF_INET, k->url.host, bytes) != 1 && inet_pton(AF_INET6, k->url.host, bytes) != 1;
    if (!is_name) {
        join(k, k->url.host);
        return;
    }
    k->room = ASKING;
    arm(k, JOIN_S);
    if (!k->asker.channel && !rx_asker_open(&k->asker)) {
        rx_sync_link_fail(k, "no resolver");
        return;
    }
    ares_gethostbyname(k->asker.channel, k->url.host, k->family, link_on_address, k);
    rx_asker_rearm(&k->asker);
}

static void link_on_timer(struct ev_loop *loop, ev_timer *t, int events)
{
    (void)loop, (void)events;
    struct rx_sync_link *k = t->data;
    if (k->room == DOWN)
        begin(k);
    else
        rx_sync_link_fail(k, k->ac[SAY] ? "it does not answer" : "its address is not known");
}

// ---- calling ----------------------------------------------------------------------------------------------------------

struct asked {
    struct rx_sync_link *link;
    void (*answer)(void *data, const char *text, size_t n);
};

static void take(struct rx_sync_link *k, const redisReply *r, void (*answer)(void *, const char *, size_t))
{
    k->waiting -= k->waiting > 0;
    if (r->type == REDIS_REPLY_ERROR && (!strncmp(r->str, "NOSCRIPT", 8) || !strncmp(r->str, "READONLY", 8)))
        rx_sync_link_fail(k, r->str);
    else if (r->type == REDIS_REPLY_ERROR)
        k->ear.failed(k->ear.data, r->str);
    else if (answer && r->type == REDIS_REPLY_STRING)
        answer(k->ear.data, r->str, (size_t)r->len);
}

static void link_on_reply(redisAsyncContext *ac, void *reply, void *data)
{
    (void)ac;
    if (reply && ac->data)
        take(data, reply, NULL);
}

static void link_on_answer(redisAsyncContext *ac, void *reply, void *data)
{
    struct asked *asked = data;
    if (reply && ac->data)
        take(asked->link, reply, asked->answer);
    free(asked);
}

bool rx_sync_link_call(struct rx_sync_link *k, const struct rx_sync_call *c)
{
    char keys[12];
    const char *argv[RX_SYNC_ARGS + 3] = { "EVALSHA", k->sha, keys };
    size_t len[RX_SYNC_ARGS + 3] = { 7, sizeof k->sha - 1, 0 };
    if (k->room != UP)
        return false;
    len[2] = (size_t)snprintf(keys, sizeof keys, "%u", c->n_keys);
    memcpy(argv + 3, c->arg, c->n * sizeof *argv);
    memcpy(len + 3, c->len, c->n * sizeof *len);
    struct asked *asked = NULL;
    if (c->answer) {
        if (!(asked = malloc(sizeof *asked)))
            return false;
        *asked = (struct asked){ k, c->answer };
    }
    if (redisAsyncCommandArgv(k->ac[SAY], asked ? link_on_answer : link_on_reply, asked ? (void *)asked : k, (int)c->n + 3,
                              argv, len) != REDIS_OK) {
        free(asked);
        return false;
    }
    k->waiting++;
    return true;
}

unsigned rx_sync_link_waiting(const struct rx_sync_link *k)
{
    return k->waiting;
}

const char *rx_sync_link_channel(const struct rx_sync_link *k)
{
    return k->channel;
}

// ---- its own life ---------------------------------------------------------------------------------------------------

struct rx_sync_link *rx_sync_link_new(struct ev_loop *loop, const struct rx_sync_url *url, const char *resolver,
                                      const struct rx_sync_link_ear *ear)
{
    struct rx_sync_link *k = calloc(1, sizeof *k);
    if (!k)
        return NULL;
    k->loop = loop;
    k->url = *url;
    k->ear = *ear;
    k->pause_s = PAUSE_FIRST_S;
    k->family = AF_INET;
    snprintf(k->channel, sizeof k->channel, "%s:%u", url->prefix, url->db);
    rx_asker_init(&k->asker, loop);
    rx_asker_use(&k->asker, resolver);
    ev_timer_init(&k->timer, link_on_timer, 0., 0.);
    k->timer.data = k;
    arm(k, 0.);
    return k;
}

void rx_sync_link_free(struct rx_sync_link *k)
{
    if (!k)
        return;
    k->room = DOWN;
    ev_timer_stop(k->loop, &k->timer);
    hang_up(k);
    rx_asker_fini(&k->asker);
    free(k);
}

#endif
