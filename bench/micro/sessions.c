// SPDX-License-Identifier: MIT
// What sessions cost: nanoseconds of an event and bytes of an identity in the ledger, and lines of Xray's log that are read
// in a second. CPU time of the thread. An answer that is not the expected one ends the run.
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "ledger.h"
#include "xray.h"

enum { LINES = 1000000, PASSES = 5 };

static double now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e9 + (double)t.tv_nsec;
}

static void expect(bool is_good, const char *what)
{
    if (is_good)
        return;
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static double heap_bytes(void)
{
    struct mallinfo2 m = mallinfo2();
    return (double)m.uordblks + (double)m.hblkhd;
}

// Each identity from its own address, and the last event of each from one too many.
static void ledger(unsigned n, unsigned events)
{
    const struct rx_ledger_rule rule = { .max_identities = 2 * n, .window_ms = 60000, .timeout_ms = 60000 };
    struct rx_ledger *l = rx_ledger_new(&rule);
    struct rx_ledger_answer a;
    double before = heap_bytes(), slowest = 0, begun = now_ns();
    expect(l, "out of memory");
    for (unsigned round = 0; round < events; round++) {
        double round_begun = now_ns();
        for (unsigned i = 0; i < n; i++) {
            unsigned who = (unsigned)(i * 2654435761ull % n); // in no order that caches like
            char id[32];
            struct rx_ledger_event e = { .id = id, .id_len = (uint32_t)snprintf(id, sizeof id, "user-%u@example.com", who),
                                         .max_ips = 1, .now_ms = 1000 + round };
            e.who = (struct rx_cidr){ .bits = 32, .family = AF_INET };
            uint32_t address = who + (round == events - 1 && events > 1 ? n : 0);
            memcpy(e.who.bytes, &address, 4);
            rx_ledger_see(l, &e, &a);
            expect(a.is_in == (round < events - 1 || events == 1), "the wrong answer");
        }
        double took = (now_ns() - round_begun) / n;
        slowest = took > slowest ? took : slowest;
    }
    printf("ledger, %7u identities, %2u events each %8.0f ns an event (slowest round %.0f) %6.0f bytes an identity\n", n,
           events, (now_ns() - begun) / n / events, slowest, (heap_bytes() - before) / n);
    rx_ledger_free(l);
}

static void xray(const char *what, const char *line)
{
    struct rx_tail_said said;
    double best = 1e18;
    size_t n = strlen(line);
    for (int pass = 0; pass < PASSES; pass++) {
        double begun = now_ns();
        for (int i = 0; i < LINES; i++)
            expect(rx_xray_parse(line, n, &said) == RX_LINE_SESSION, "no session");
        double took = now_ns() - begun;
        best = took < best ? took : best;
    }
    printf("rx.xray, %-36s %8.0f ns a line %10.2f million lines a second\n", what, best / LINES, LINES / best * 1e3);
}

int main(void)
{
    ledger(100000, 10);
    ledger(1000000, 1);
    ledger(1000000, 10);
    xray("IPv4", "2026/01/30 17:03:38.067799 from 172.19.0.3:58676 accepted tcp:www.google.com:443 [IN-TAG >> direct] email: 2");
    xray("tcp: in front, a long email",
         "2026/01/30 17:03:38.067799 from tcp:172.19.0.3:58676 accepted tcp:www.google.com:443 [IN-TAG -> direct] email: "
         "somebody.with.a.name@subscription.example.com");
    xray("IPv6", "2026/01/30 17:03:38.067799 from [2001:db8:12:34::1]:58676 accepted udp:8.8.8.8:53 [IN ==> OUT] email: u1");
    return 0;
}
