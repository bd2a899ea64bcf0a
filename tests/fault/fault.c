// SPDX-License-Identifier: MIT
// Preloaded into the program under test: makes the n-th call of one kind fail, as the driver (fault.py) says in a page
// both have mapped. Enters: calls of the program and, for epoll_ctl, of libev. Leaves: what libc says, or the failure.
//
// Only calls made by the program itself count (what the return address tells), so that libev, which may not be denied
// memory, and libc's own workings are left alone. accept4, recv, send, sendmsg and splice that are to fail do nothing
// else; a "short" one moves a single byte. shutdown is left out: where it fails in earnest epoll says so, too.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

// In the order of KINDS in fault.py.
enum kind {
    KIND_MALLOC,
    KIND_ACCEPT4,
    KIND_SOCKET,
    KIND_BIND,
    KIND_LISTEN,
    KIND_CONNECT,
    KIND_EPOLL_CTL,
    KIND_RECV,
    KIND_SEND,
    KIND_SENDMSG,
    KIND_RECVMMSG,
    KIND_PIPE2,
    KIND_SPLICE,
    KIND_TEE,
    KIND_OPEN,
    KIND_READ,
    KIND_WRITE,
    KIND_FCNTL,
    KIND_SETSOCKOPT,
    KIND_GETSOCKOPT,
    KIND_MMAP,
    KIND_PTHREAD_CREATE,
    KINDS
};

// SHORT as an error: one byte goes, and no error.
enum { SHORT = -1, FRAMES = 8 };

struct fault {
    atomic_int kind;          // -1: none
    atomic_uint from, until;  // which calls of the kind fail: counted from 1
    atomic_int error;         // errno
    atomic_uint fired;
    atomic_uint seen[KINDS];
    atomic_ulong where;       // of the latest failure: offset in the program
    atomic_long jump_s;       // how far the clock on the wall is off
};

static struct fault *fault;
static uintptr_t program_low, program_high, libev_low, libev_high;

static void find_memory(void);

static int look(struct dl_phdr_info *info, size_t size, void *data)
{
    (void)size;
    int *n = data;
    uintptr_t low = UINTPTR_MAX, high = 0;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        if (p->p_type != PT_LOAD)
            continue;
        uintptr_t at = info->dlpi_addr + p->p_vaddr;
        low = at < low ? at : low;
        high = at + p->p_memsz > high ? at + p->p_memsz : high;
    }
    if ((*n)++ == 0) {
        program_low = low;
        program_high = high;
    } else if (strstr(info->dlpi_name, "/libev.so")) {
        libev_low = low;
        libev_high = high;
    }
    return 0;
}

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("RX_FAULT");
    int n = 0;
    find_memory();
    if (!path)
        return;
    dl_iterate_phdr(look, &n);
    int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd == -1)
        return;
    void *p = mmap(NULL, sizeof *fault, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (p != MAP_FAILED)
        fault = p;
    close(fd);
}

// The errno this call is to fail with; 0: it is not to.
static int verdict(enum kind kind, const void *caller)
{
    uintptr_t at = (uintptr_t)caller;
    bool is_own = at >= program_low && at < program_high;
    if (!fault || !(is_own || (kind == KIND_EPOLL_CTL && at >= libev_low && at < libev_high)))
        return 0;
    unsigned n = atomic_fetch_add(&fault->seen[kind], 1) + 1;
    if (atomic_load(&fault->kind) != (int)kind || n < atomic_load(&fault->from) || n >= atomic_load(&fault->until))
        return 0;
    atomic_fetch_add(&fault->fired, 1);
    atomic_store(&fault->where, is_own ? at - program_low : 0);
    return atomic_load(&fault->error);
}

#define REAL(name)                                                                                                     \
    static __typeof__(name) *real;                                                                                     \
    if (!real)                                                                                                         \
        real = (__typeof__(name) *)dlsym(RTLD_NEXT, #name);

#define MAY_FAIL(kind, bad)                                                                                            \
    int error = verdict(kind, __builtin_return_address(0));                                                            \
    if (error > 0) {                                                                                                   \
        errno = error;                                                                                                 \
        return bad;                                                                                                    \
    }

// ---- memory ----------------------------------------------------------------------------------------------------------

// Until the real ones are found, and a sanitizer's among them has set itself up, which asks for memory in turn: from these
// bytes, for good. Each piece has its size before it.
static _Alignas(16) uint8_t early[1 << 20];
static size_t early_used;
static bool is_ready;
static struct {
    void *(*malloc)(size_t);
    void *(*calloc)(size_t, size_t);
    void *(*realloc)(void *, size_t);
    void (*free)(void *);
} real_memory;

static void *early_alloc(size_t n)
{
    if (n > sizeof early - 16 - early_used)
        return NULL;
    uint8_t *p = early + early_used + 16;
    memcpy(p - 16, &n, sizeof n);
    early_used += 16 + ((n + 15) & ~(size_t)15);
    return p;
}

static bool is_early(const void *p)
{
    return (const uint8_t *)p >= early && (const uint8_t *)p < early + sizeof early;
}

static void find_memory(void)
{
    real_memory.malloc = (void *(*)(size_t))dlsym(RTLD_NEXT, "malloc");
    real_memory.calloc = (void *(*)(size_t, size_t))dlsym(RTLD_NEXT, "calloc");
    real_memory.realloc = (void *(*)(void *, size_t))dlsym(RTLD_NEXT, "realloc");
    real_memory.free = (void (*)(void *))dlsym(RTLD_NEXT, "free");
    real_memory.free(real_memory.malloc(1));
    is_ready = true;
}

void *malloc(size_t n)
{
    if (!is_ready)
        return early_alloc(n);
    MAY_FAIL(KIND_MALLOC, NULL)
    return real_memory.malloc(n);
}

void *calloc(size_t n, size_t size)
{
    if (!is_ready)
        return early_alloc(n * size);
    MAY_FAIL(KIND_MALLOC, NULL)
    return real_memory.calloc(n, size);
}

void *realloc(void *p, size_t n)
{
    if (is_early(p) || !is_ready) {
        size_t old = 0;
        if (p)
            memcpy(&old, (uint8_t *)p - 16, sizeof old);
        void *moved = is_ready ? real_memory.malloc(n) : early_alloc(n);
        if (moved && p)
            memcpy(moved, p, old < n ? old : n);
        return moved;
    }
    MAY_FAIL(KIND_MALLOC, NULL)
    return real_memory.realloc(p, n);
}

void free(void *p)
{
    if (is_ready && !is_early(p))
        real_memory.free(p);
}

void *aligned_alloc(size_t align, size_t n)
{
    REAL(aligned_alloc)
    MAY_FAIL(KIND_MALLOC, NULL)
    return real(align, n);
}

char *strdup(const char *s)
{
    REAL(strdup)
    MAY_FAIL(KIND_MALLOC, NULL)
    return real(s);
}

char *strndup(const char *s, size_t n)
{
    REAL(strndup)
    MAY_FAIL(KIND_MALLOC, NULL)
    return real(s, n);
}

void *mmap(void *at, size_t n, int prot, int flags, int fd, off_t offset)
{
    REAL(mmap)
    MAY_FAIL(KIND_MMAP, MAP_FAILED)
    return real(at, n, prot, flags, fd, offset);
}

// ---- sockets ---------------------------------------------------------------------------------------------------------

int accept4(int fd, struct sockaddr *sa, socklen_t *len, int flags)
{
    REAL(accept4)
    MAY_FAIL(KIND_ACCEPT4, -1)
    return real(fd, sa, len, flags);
}

int socket(int domain, int type, int protocol)
{
    REAL(socket)
    MAY_FAIL(KIND_SOCKET, -1)
    return real(domain, type, protocol);
}

int bind(int fd, const struct sockaddr *sa, socklen_t len)
{
    REAL(bind)
    MAY_FAIL(KIND_BIND, -1)
    return real(fd, sa, len);
}

int listen(int fd, int backlog)
{
    REAL(listen)
    MAY_FAIL(KIND_LISTEN, -1)
    return real(fd, backlog);
}

int connect(int fd, const struct sockaddr *sa, socklen_t len)
{
    REAL(connect)
    MAY_FAIL(KIND_CONNECT, -1)
    return real(fd, sa, len);
}

int setsockopt(int fd, int level, int option, const void *value, socklen_t len)
{
    REAL(setsockopt)
    MAY_FAIL(KIND_SETSOCKOPT, -1)
    return real(fd, level, option, value, len);
}

int getsockopt(int fd, int level, int option, void *value, socklen_t *len)
{
    REAL(getsockopt)
    MAY_FAIL(KIND_GETSOCKOPT, -1)
    return real(fd, level, option, value, len);
}

int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)
{
    REAL(epoll_ctl)
    if (op != EPOLL_CTL_ADD) // the others need nothing that could run out
        return real(epfd, op, fd, event);
    MAY_FAIL(KIND_EPOLL_CTL, -1)
    return real(epfd, op, fd, event);
}

// ---- bytes -----------------------------------------------------------------------------------------------------------

ssize_t recv(int fd, void *buf, size_t n, int flags)
{
    REAL(recv)
    MAY_FAIL(KIND_RECV, -1)
    return real(fd, buf, error == SHORT && n ? 1 : n, flags);
}

ssize_t send(int fd, const void *buf, size_t n, int flags)
{
    REAL(send)
    MAY_FAIL(KIND_SEND, -1)
    return real(fd, buf, error == SHORT && n ? 1 : n, flags);
}

ssize_t sendmsg(int fd, const struct msghdr *m, int flags)
{
    REAL(sendmsg)
    MAY_FAIL(KIND_SENDMSG, -1)
    return real(fd, m, flags);
}

int recvmmsg(int fd, struct mmsghdr *m, unsigned n, int flags, struct timespec *timeout)
{
    REAL(recvmmsg)
    MAY_FAIL(KIND_RECVMMSG, -1)
    return real(fd, m, error == SHORT ? 1 : n, flags, timeout);
}

int pipe2(int fds[2], int flags)
{
    REAL(pipe2)
    MAY_FAIL(KIND_PIPE2, -1)
    return real(fds, flags);
}

ssize_t splice(int from, off64_t *from_at, int to, off64_t *to_at, size_t n, unsigned flags)
{
    REAL(splice)
    MAY_FAIL(KIND_SPLICE, -1)
    return real(from, from_at, to, to_at, error == SHORT && n ? 1 : n, flags);
}

ssize_t tee(int from, int to, size_t n, unsigned flags)
{
    REAL(tee)
    MAY_FAIL(KIND_TEE, -1)
    return real(from, to, error == SHORT && n ? 1 : n, flags);
}

ssize_t read(int fd, void *buf, size_t n)
{
    REAL(read)
    MAY_FAIL(KIND_READ, -1)
    return real(fd, buf, error == SHORT && n ? 1 : n);
}

ssize_t write(int fd, const void *buf, size_t n)
{
    REAL(write)
    MAY_FAIL(KIND_WRITE, -1)
    return real(fd, buf, error == SHORT && n ? 1 : n);
}

// ---- time ----------------------------------------------------------------------------------------------------------

int clock_gettime(clockid_t id, struct timespec *t)
{
    REAL(clock_gettime)
    int rc = real(id, t);
    if (!rc && fault && id == CLOCK_REALTIME)
        t->tv_sec += atomic_load(&fault->jump_s);
    return rc;
}

time_t time(time_t *out)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    if (out)
        *out = t.tv_sec;
    return t.tv_sec;
}

// ---- files and threads -------------------------------------------------------------------------------------------------

int open(const char *path, int flags, ...)
{
    REAL(open)
    va_list args;
    va_start(args, flags);
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(args, mode_t) : 0;
    va_end(args);
    MAY_FAIL(KIND_OPEN, -1)
    return real(path, flags, mode);
}

FILE *fopen(const char *path, const char *mode)
{
    REAL(fopen)
    MAY_FAIL(KIND_OPEN, NULL)
    return real(path, mode);
}

int fcntl(int fd, int command, ...)
{
    REAL(fcntl)
    va_list args;
    va_start(args, command);
    long value = va_arg(args, long);
    va_end(args);
    MAY_FAIL(KIND_FCNTL, -1)
    return real(fd, command, value);
}

int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
    REAL(pthread_create)
    int error = verdict(KIND_PTHREAD_CREATE, __builtin_return_address(0));
    return error > 0 ? error : real(t, a, run, arg);
}
