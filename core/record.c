// SPDX-License-Identifier: MIT
// Enters: decisions, from workers. Leaves: a line of JSON each, in a file of bounded size.
// A worker copies a decision into a ring of its own and goes on; one thread empties the rings, formats and writes, so
// that neither a slow nor a full disk is ever waited for on the path. What finds no room is counted.
// Invariants: one writer and one reader a ring. Rings live as long as the recorder: a worker that was about to write
// when recording stopped does no harm.
#include "record.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "json.h"
#include "log.h"

enum { RING = 256 * 1024, PAUSE_MS = 50, TEXTS = 4 };

// A decision in the ring: this, the lengths of its datagrams, the texts with their NULs, the bytes. `size` 0: go on at
// the ring's start.
struct slot {
    uint32_t size;
    uint32_t len, kept;
    uint32_t n_grams;
    uint64_t ms;
    union rx_ip from;
    uint16_t to_port;
    uint8_t ended;
    bool has_protocol, has_route;
};

struct ring {
    _Alignas(64) atomic_ulong head; // the worker's: bytes written
    atomic_ulong dropped;
    uint32_t owed; // sampling: parts of a million
    _Alignas(64) atomic_ulong tail; // the writer's: bytes read
    uint8_t bytes[RING];
};

struct rx_recorder {
    atomic_bool is_on;
    struct ring **rings; // owned, and each of them
    unsigned n_rings;
    struct rx_record_setup setup; // file is owned
    atomic_uint sample_ppm, bytes;
    pthread_t thread;
    atomic_bool is_ending;
    bool is_running, is_ordered;
    int fd; // owned while running
    uint64_t size, written;
    unsigned long lost; // that the file had no room for
    bool is_full;
};

struct rx_recorder *rx_recorder_new(void)
{
    struct rx_recorder *w = calloc(1, sizeof *w);
    if (w)
        w->fd = -1;
    return w;
}

void rx_recorder_free(struct rx_recorder *w)
{
    for (unsigned i = 0; w && i < w->n_rings; i++)
        free(w->rings[i]);
    if (w)
        free(w->rings);
    free(w);
}

atomic_bool *rx_recorder_is_on(struct rx_recorder *w)
{
    return &w->is_on;
}

// ---- workers --------------------------------------------------------------------------------------------------------

static size_t aligned(size_t n)
{
    return (n + 15) & ~(size_t)15;
}

// Room for one more, contiguous; NULL when the writer lags behind.
static uint8_t *room(struct ring *g, size_t need, unsigned long *head)
{
    unsigned long tail = atomic_load_explicit(&g->tail, memory_order_acquire);
    *head = atomic_load_explicit(&g->head, memory_order_relaxed);
    size_t at = *head % RING, rest = RING - at, skip = rest < need ? rest : 0;
    if (need > RING / 2 || *head + skip + need - tail > RING)
        return NULL;
    if (skip) {
        memset(g->bytes + at, 0, sizeof(uint32_t));
        *head += skip;
    }
    return g->bytes + *head % RING;
}

static uint8_t *put(uint8_t *at, const char *text)
{
    size_t n = text ? strnlen(text, RX_RECORD_TEXT - 1) : 0;
    if (n)
        memcpy(at, text, n);
    at[n] = 0;
    return at + n + 1;
}

static bool is_sampled(const struct rx_recorder *w, struct ring *g)
{
    g->owed += atomic_load_explicit(&w->sample_ppm, memory_order_relaxed);
    if (g->owed < 1000000)
        return false;
    g->owed -= 1000000;
    return true;
}

void rx_record_decision(struct rx_recorder *w, unsigned worker, const struct rx_record *r)
{
    struct ring *g = worker < w->n_rings ? w->rings[worker] : NULL;
    if (!g || !is_sampled(w, g))
        return;
    struct timespec now;
    const char *texts[TEXTS] = { r->listen, r->protocol, r->route, r->to };
    uint32_t kept = RX_MIN(r->len, atomic_load_explicit(&w->bytes, memory_order_relaxed));
    uint32_t n_grams = RX_MIN(r->n_grams, (uint32_t)RX_RECORD_GRAMS);
    size_t need = sizeof(struct slot) + n_grams * sizeof(uint32_t) + kept;
    unsigned long head;
    for (unsigned i = 0; i < TEXTS; i++)
        need += (texts[i] ? strnlen(texts[i], RX_RECORD_TEXT - 1) : 0) + 1;
    need = aligned(need);
    uint8_t *at = room(g, need, &head);
    if (!at) {
        atomic_fetch_add_explicit(&g->dropped, 1, memory_order_relaxed);
        return;
    }
    clock_gettime(CLOCK_REALTIME, &now);
    struct slot s = { .size = (uint32_t)need,
                      .len = r->len,
                      .kept = kept,
                      .n_grams = n_grams,
                      .ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000,
                      .from = r->from,
                      .to_port = r->to_port,
                      .ended = (uint8_t)r->ended,
                      .has_protocol = r->protocol,
                      .has_route = r->route };
    memcpy(at, &s, sizeof s);
    at += sizeof s;
    if (n_grams)
        memcpy(at, r->gram_len, n_grams * sizeof(uint32_t));
    at += n_grams * sizeof(uint32_t);
    for (unsigned i = 0; i < TEXTS; i++)
        at = put(at, texts[i]);
    if (kept)
        memcpy(at, r->bytes, kept);
    atomic_store_explicit(&g->head, head + need, memory_order_release);
}

// ---- the writer -----------------------------------------------------------------------------------------------------

static void put_string(struct rx_json *j, const char *key, const char *text)
{
    rx_json_key(j, key);
    rx_json_string(j, text);
}

static void put_number(struct rx_json *j, const char *key, uint64_t v)
{
    rx_json_key(j, key);
    rx_json_number(j, v);
}

static void put_bytes(struct rx_json *j, const uint8_t *p, uint32_t n)
{
    static const char digits[] = "0123456789abcdef";
    char *hex = malloc(2 * (size_t)n + 1);
    rx_json_key(j, "bytes");
    for (uint32_t i = 0; hex && i < n; i++) {
        hex[2 * i] = digits[p[i] >> 4];
        hex[2 * i + 1] = digits[p[i] & 15];
    }
    rx_json_text(j, hex ? hex : "", hex ? 2 * (size_t)n : 0);
    free(hex);
}

// Appends one line; a line that does not fit, or cannot be written whole, is taken back and recording ends.
static void write_line(struct rx_recorder *w, struct rx_json *j)
{
    const struct iovec parts[2] = { { j->text, j->len }, { (char *)"\n", 1 } };
    size_t len = j->len + 1;
    if (j->is_broken || w->is_full) {
        w->lost++;
        return;
    }
    if (w->size + len <= w->setup.max_size && writev(w->fd, parts, 2) == (ssize_t)len) {
        w->size += len;
        w->written++;
        return;
    }
    int err = w->size + len > w->setup.max_size ? 0 : errno ? errno : ENOSPC;
    if (ftruncate(w->fd, (off_t)w->size))
        err = errno;
    rx_log(RX_LOG_WARN, "record: %s: %s; nothing more is recorded", w->setup.file,
           err ? strerror(err) : "max_size is reached");
    w->is_full = true;
    w->lost++;
}

static void put_grams(struct rx_json *j, const uint8_t *at, uint32_t n)
{
    rx_json_key(j, "datagrams");
    rx_json_open(j, '[');
    for (uint32_t i = 0; i < n; i++) {
        uint32_t len;
        memcpy(&len, at + i * sizeof len, sizeof len);
        rx_json_number(j, len);
    }
    rx_json_close(j);
}

static void write_slot(struct rx_recorder *w, const struct slot *s, const uint8_t *at)
{
    struct rx_json j = { 0 };
    char host[RX_ADDR_TEXT];
    const char *texts[TEXTS];
    const uint8_t *grams = at;
    at += s->n_grams * sizeof(uint32_t);
    for (unsigned i = 0; i < TEXTS; i++) {
        texts[i] = (const char *)at;
        at += strlen(texts[i]) + 1;
    }
    rx_json_open(&j, '{');
    put_number(&j, "ms", s->ms);
    put_string(&j, "transport", s->n_grams ? "udp" : "tcp");
    put_string(&j, "listen", texts[0]);
    put_number(&j, "port", s->to_port);
    put_string(&j, "from", rx_addr_print_host(&s->from.sa, host));
    put_string(&j, "ended", rx_ended_word((enum rx_ended)s->ended));
    put_string(&j, "protocol", s->has_protocol ? texts[1] : NULL);
    put_string(&j, "route", s->has_route ? texts[2] : NULL);
    put_string(&j, "to", texts[3]);
    put_number(&j, "len", s->len);
    if (s->n_grams)
        put_grams(&j, grams, s->n_grams);
    put_bytes(&j, at, s->kept);
    rx_json_close(&j);
    errno = 0;
    write_line(w, &j);
    rx_json_free(&j);
}

static bool empty_ring(struct rx_recorder *w, struct ring *g)
{
    unsigned long head = atomic_load_explicit(&g->head, memory_order_acquire);
    unsigned long tail = atomic_load_explicit(&g->tail, memory_order_relaxed);
    bool is_any = tail != head;
    while (tail != head) {
        struct slot s = { 0 };
        const uint8_t *at = g->bytes + tail % RING;
        memcpy(&s.size, at, sizeof s.size);
        if (!s.size) {
            tail += RING - tail % RING;
            continue;
        }
        memcpy(&s, at, sizeof s);
        write_slot(w, &s, at + sizeof s);
        tail += s.size;
        atomic_store_explicit(&g->tail, tail, memory_order_release);
    }
    atomic_store_explicit(&g->tail, tail, memory_order_release);
    return is_any;
}

static void *write_out(void *data)
{
    const struct timespec pause = { .tv_nsec = PAUSE_MS * 1000000L };
    struct rx_recorder *w = data;
    for (;;) {
        bool is_last = atomic_load(&w->is_ending), is_any = false;
        for (unsigned i = 0; i < w->n_rings; i++)
            is_any |= empty_ring(w, w->rings[i]);
        if (is_last)
            return NULL;
        if (!is_any)
            nanosleep(&pause, NULL);
    }
}

// ---- starting and stopping ------------------------------------------------------------------------------------------

static int make_rings(struct rx_recorder *w, unsigned n)
{
    if (w->rings)
        return 0;
    w->rings = calloc(n, sizeof *w->rings);
    for (unsigned i = 0; w->rings && i < n; i++)
        if (!(w->rings[i] = aligned_alloc(64, sizeof(struct ring))))
            return -ENOMEM;
        else
            memset(w->rings[i], 0, offsetof(struct ring, bytes));
    w->n_rings = w->rings ? n : 0;
    return w->rings ? 0 : -ENOMEM;
}

// An old recording goes on when it is one; anything else is not ours to write to.
static int open_file(struct rx_recorder *w, const char *file)
{
    char first[32] = "";
    struct stat st;
    int fd = open(file, O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    if (fd < 0)
        return -errno;
    int err = fstat(fd, &st) ? errno : S_ISREG(st.st_mode) ? 0 : EINVAL;
    if (!err && st.st_size && (pread(fd, first, sizeof first - 1, 0) < 22 || strncmp(first, "{\"refractium_record\":1", 22)))
        err = EEXIST;
    if (!err && !st.st_size && dprintf(fd, "{\"refractium_record\":%d}\n", RX_RECORD_VERSION) < 0)
        err = errno;
    if (!err && fstat(fd, &st))
        err = errno;
    if (err) {
        close(fd);
        return -err;
    }
    w->size = (uint64_t)st.st_size;
    return fd;
}

static bool is_same(const struct rx_record_setup *a, const struct rx_record_setup *b)
{
    return a->file && b->file && !strcmp(a->file, b->file) && a->max_size == b->max_size;
}

static void tune(struct rx_recorder *w, const struct rx_record_setup *setup)
{
    atomic_store(&w->sample_ppm, setup->sample_ppm);
    atomic_store(&w->bytes, setup->bytes);
    w->setup.sample_ppm = setup->sample_ppm;
    w->setup.bytes = setup->bytes;
}

static int start(struct rx_recorder *w, const struct rx_record_setup *setup, unsigned n_workers)
{
    char *file = strdup(setup->file);
    int rc = file ? make_rings(w, n_workers) : -ENOMEM;
    int fd = rc ? rc : open_file(w, setup->file);
    if (fd < 0) {
        rx_log(RX_LOG_ERROR, "record: %s: %s", setup->file, fd == -EEXIST ? "exists and is no recording" : strerror(-fd));
        free(file);
        return fd;
    }
    w->setup = *setup;
    w->setup.file = file;
    w->fd = fd;
    w->written = 0;
    w->lost = 0;
    w->is_full = false;
    atomic_store(&w->is_ending, false);
    for (unsigned i = 0; i < w->n_rings; i++) // what came in too late for the last recording
        atomic_store(&w->rings[i]->tail, atomic_load(&w->rings[i]->head));
    tune(w, setup);
    if ((rc = pthread_create(&w->thread, NULL, write_out, w))) {
        rx_log(RX_LOG_ERROR, "record: no thread to write %s: %s", file, strerror(rc));
        close(fd);
        free(file);
        w->setup.file = NULL;
        return -rc;
    }
    w->is_running = true;
    atomic_store(&w->is_on, true);
    rx_log(RX_LOG_INFO, "record: first bytes of clients go to %s", file);
    return 0;
}

bool rx_record_stop(struct rx_recorder *w)
{
    if (!w->is_running)
        return false;
    atomic_store(&w->is_on, false);
    atomic_store(&w->is_ending, true);
    pthread_join(w->thread, NULL);
    unsigned long lost = w->lost;
    for (unsigned i = 0; i < w->n_rings; i++)
        lost += atomic_exchange(&w->rings[i]->dropped, 0);
    close(w->fd);
    rx_log(RX_LOG_INFO, "record: %lu decisions in %s, %lu left out", (unsigned long)w->written,
           w->setup.file, lost);
    free((char *)w->setup.file);
    w->setup.file = NULL;
    w->fd = -1;
    w->is_running = w->is_ordered = false;
    return true;
}

int rx_record_order(struct rx_recorder *w, const struct rx_record_setup *setup, unsigned n_workers)
{
    int rc = w->is_running ? -EALREADY : start(w, setup, n_workers);
    if (!rc)
        w->is_ordered = true;
    return rc;
}

const char *rx_record_file(struct rx_recorder *w)
{
    return w->setup.file;
}

int rx_record_apply(struct rx_recorder *w, const struct rx_record_setup *setup, unsigned n_workers)
{
    if (w->is_running && is_same(setup, &w->setup)) {
        tune(w, setup);
        return 0;
    }
    if (w->is_ordered)
        return 0;
    rx_record_stop(w);
    return setup->file ? start(w, setup, n_workers) : 0;
}
