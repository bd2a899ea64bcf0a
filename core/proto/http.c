// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are an HTTP request (1.x, the 0.9 simple
// request, or HTTP/2 with prior knowledge), and its method, path, version and host.
//
// Invariants:
// - What proves HTTP/1.x is "HTTP/1." and a digit in the version's place. Method names prove nothing: OPTIONS is
//   RTSP's, SIP's and ICAP's too, CONNECT is STOMP's and NATS's, PROXY is HAProxy's; and clients invent their own.
// - Every byte that cannot be part of a request line ends the wait for the rest of it.
// - The head is read past the request line only for `host`, and only when somebody wants it; until the Host line
//   or the end of the head is there, `host` is pending.
//
// Deliberately not done: judging a head after its request line has proved HTTP. A match cannot be taken back,
// so whatever follows is the server's to refuse; of several Host lines the first counts, and one that no rule
// allows (a space before the colon, a name with a slash) counts as none. White space other than single spaces
// in the request line, which RFC 9112 3 lets a server accept, is refused.
#include "list.h"

#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

enum {
    METHOD_MAX = 24,     // UPDATEREDIRECTREF has 17, SSTP_DUPLEX_POST 16
    BLANK_MAX = 8,       // bytes of empty lines before the request line; RFC 9112 2.2 asks for one line
    VERSION_LEN = 8,     // HTTP/1.1
    VERSION_09 = 0x0009, // RFC 1945 5.1 Simple-Request
    VERSION_2 = 0x0200,
};

static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"; // RFC 9113 3.4
enum { PREFACE_LEN = sizeof preface - 1 };

// Bytes of method names. RFC 9110 5.6.2 allows a dozen more, which no method uses; lower case is another
// method (RFC 9110 9.1), and in practice another protocol.
static const uint8_t is_method_byte[256] = {
    ['A' ... 'Z'] = 1,
    ['0' ... '9'] = 1,
    ['-'] = 1,
    ['_'] = 1,
};

// RFC 3986 3.1
static const uint8_t is_scheme_byte[256] = {
    ['A' ... 'Z'] = 1, ['a' ... 'z'] = 1, ['0' ... '9'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
};

// Bytes that end a host or make it no host: RFC 3986 3.2.2, plus what nobody may smuggle into a name
static const uint8_t is_bad_in_host[256] = {
    [0 ... ' '] = 1, ['"'] = 1, ['#'] = 1, ['/'] = 1,  ['<'] = 1,
    ['>'] = 1,       ['?'] = 1, ['@'] = 1, ['\\'] = 1, [0x7f] = 1,
};

// The IANA HTTP method registry (RFC 9110 16.1.1)
// clang-format off
static const char *const registered[] = {
    "ACL", "BASELINE-CONTROL", "BIND", "CHECKIN", "CHECKOUT", "CONNECT", "COPY", "DELETE", "GET", "HEAD",
    "LABEL", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MKREDIRECTREF", "MKWORKSPACE",
    "MOVE", "OPTIONS", "ORDERPATCH", "PATCH", "POST", "PRI", "PROPFIND", "PROPPATCH", "PUT", "QUERY",
    "REBIND", "REPORT", "SEARCH", "TRACE", "UNBIND", "UNCHECKOUT", "UNLINK", "UNLOCK", "UPDATE",
    "UPDATEREDIRECTREF", "VERSION-CONTROL",
};
// clang-format on

// The request line, as offsets into the input
struct line {
    uint32_t method, method_end;
    uint32_t target, target_end;
};

// Words of text as loads give them: the first byte lowest.
#define WORD4(a, b, c, d) ((uint32_t)(a) | (uint32_t)(b) << 8 | (uint32_t)(c) << 16 | (uint32_t)(d) << 24)

static inline uint64_t eight(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    w = __builtin_bswap64(w);
#endif
    return w;
}

static enum rx_verdict no(struct rx_facts *f, enum rx_note note)
{
    f->note = (uint8_t)note;
    return RX_NO;
}

static bool is_word(const uint8_t *p, uint32_t len, const char *word)
{
    return len == strlen(word) && memcmp(p, word, len) == 0;
}

static bool is_alpha(uint8_t c)
{
    return (c | 0x20) >= 'a' && (c | 0x20) <= 'z';
}

static bool is_method(const uint8_t *p, const struct line *l, const char *word)
{
    return is_word(p + l->method, l->method_end - l->method, word);
}

static bool is_registered(const uint8_t *p, const struct line *l)
{
    for (unsigned i = 0; i < RX_COUNT(registered); i++)
        if (is_method(p, l, registered[i]))
            return true;
    return false;
}

// Why a request line that came this far is none. Only a registered method with a path is taken for broken
// HTTP; anything else is more likely to be whole something else.
static enum rx_verdict RX_COLD refuse(const uint8_t *p, const struct line *l, uint32_t n, struct rx_facts *f)
{
    bool has_path = l->target < n && p[l->target] == '/';
    return no(f, has_path && is_registered(p, l) ? RX_NOTE_HTTP_INVALID : RX_NOTE_NONE);
}

#ifdef __SSE2__
// Which of sixteen bytes are not part of a target.
static inline unsigned ends_in(const uint8_t *p)
{
    const __m128i last = _mm_set1_epi8(' '), gone = _mm_set1_epi8(0x7f);
    __m128i b = _mm_loadu_si128((const __m128i *)(const void *)p);
    __m128i hit = _mm_or_si128(_mm_cmpeq_epi8(_mm_min_epu8(b, last), b), _mm_cmpeq_epi8(b, gone));
    return (unsigned)_mm_movemask_epi8(hit);
}
#endif

// First byte from `at` on that is not part of a target: a space, a control character or DEL; n when there is none.
// Sixteen bytes at a time where the machine can; else eight: in `hit` the top bit of a byte is set if the byte is
// below 0x21 or is 0x7f. Borrows can make that wrong only above the first true one, and only the first is used.
static inline uint32_t target_end(const uint8_t *p, uint32_t at, uint32_t n)
{
#ifdef __SSE2__
    for (; n - at >= 16; at += 16) {
        unsigned bits = ends_in(p + at);
        if (bits)
            return at + (uint32_t)__builtin_ctz(bits);
    }
    if (RX_LIKELY(n >= 16)) { // the rest, looked at together with what came before
        unsigned bits = ends_in(p + n - 16) >> (16 - (n - at));
        return bits ? at + (uint32_t)__builtin_ctz(bits) : n;
    }
#endif
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    for (; n - at >= 8; at += 8) {
        uint64_t w = eight(p + at), del = w ^ ones * 0x7f;
        uint64_t hit = (((w - ones * 0x21) & ~w) | ((del - ones) & ~del)) & tops;
        if (hit)
            return at + (uint32_t)__builtin_ctzll(hit) / 8;
    }
    while (at < n && p[at] > ' ' && p[at] != 0x7f)
        at++;
    return at;
}

// ---- host ----------------------------------------------------------------------------------------------------------

// uri-host [ ":" port ] (RFC 3986 3.2.2, 3.2.3)
static bool read_host(const uint8_t *p, const uint8_t *end, struct rx_facts *f)
{
    size_t len = (size_t)(end - p);
    if (len == 0)
        return false;
    if (p[0] == '[') {
        const uint8_t *close = memchr(p, ']', len);
        if (!close || (close + 1 != end && close[1] != ':'))
            return false;
        len = (size_t)(close + 1 - p);
    } else {
        const uint8_t *colon = memchr(p, ':', len);
        // a second colon: an IPv6 address without its brackets, which has no port to cut
        if (colon && !memchr(colon + 1, ':', (size_t)(end - colon - 1)))
            len = (size_t)(colon - p);
    }
    uint8_t bad = len == 0;
    for (size_t i = 0; i < len; i++)
        bad |= is_bad_in_host[p[i]];
    if (bad)
        return false;
    f->host = (struct rx_text){ p, (uint32_t)len };
    f->have |= RX_FACT_HOST;
    return true;
}

static bool is_ows(uint8_t c) // RFC 9110 5.6.3
{
    return c == ' ' || c == '\t';
}

static bool is_host_line(const uint8_t *p, size_t len)
{
    return len >= 5 && (p[0] | 0x20) == 'h' && (p[1] | 0x20) == 'o' && (p[2] | 0x20) == 's' && (p[3] | 0x20) == 't' &&
           p[4] == ':';
}

// `p` is somewhere in the request line. Without a Host line yet, and without the empty line that ends the
// head, the fact is pending.
static void find_host(const uint8_t *p, const uint8_t *end, struct rx_facts *f)
{
    for (bool is_request_line = true;; is_request_line = false) {
        const uint8_t *lf = memchr(p, '\n', (size_t)(end - p));
        if (!lf) {
            f->pending = RX_FACT_HOST;
            return;
        }
        const uint8_t *stop = lf;
        if (stop != p && stop[-1] == '\r')
            stop--;
        if (!is_request_line) {
            if (stop == p)
                return;
            if (is_host_line(p, (size_t)(stop - p))) {
                p += 5;
                while (p != stop && is_ows(*p))
                    p++;
                while (p != stop && is_ows(stop[-1]))
                    stop--;
                read_host(p, stop, f);
                return;
            }
        }
        p = lf + 1;
    }
}

// ---- targets -------------------------------------------------------------------------------------------------------

// Where the authority of an absolute-form target begins (RFC 9112 3.2.2), NULL if it is another form
static const uint8_t *authority_of(const uint8_t *p, const uint8_t *end)
{
    if (p == end || !is_alpha(*p))
        return NULL;
    while (p != end && is_scheme_byte[*p])
        p++;
    return end - p >= 3 && memcmp(p, "://", 3) == 0 ? p + 3 : NULL;
}

// Path and host of targets in other than origin-form. The authority wins over the Host line (RFC 9112 3.2.2).
static void RX_COLD read_target(const uint8_t *p, const struct line *l, struct rx_facts *f)
{
    const uint8_t *at = p + l->target, *end = p + l->target_end;
    if (is_method(p, l, "CONNECT")) { // authority-form, RFC 9112 3.2.3: there is no path
        read_host(at, end, f);
        return;
    }
    f->path = (struct rx_text){ at, (uint32_t)(end - at) };
    f->have |= RX_FACT_PATH;
    const uint8_t *authority = authority_of(at, end);
    if (!authority)
        return;
    const uint8_t *stop = authority, *name = authority;
    for (; stop != end && *stop != '/' && *stop != '?' && *stop != '#'; stop++)
        if (*stop == '@') // the last one ends the userinfo
            name = stop + 1;
    if (stop != end && *stop == '/')
        f->path = (struct rx_text){ stop, (uint32_t)(end - stop) };
    else
        f->path = (struct rx_text){ authority - 1, 1 }; // an empty path means "/" (RFC 9110 4.2.3): the one before
    read_host(name, stop, f);
}

static enum rx_verdict match(const uint8_t *p, uint32_t n, const struct line *l, uint16_t version, struct rx_facts *f)
{
    if (!f->want)
        return RX_MATCH;
    f->method = (struct rx_text){ p + l->method, l->method_end - l->method };
    f->version = version;
    f->have = RX_FACT_METHOD | RX_FACT_VERSION;
    if (RX_LIKELY(p[l->target] == '/')) {
        f->path = (struct rx_text){ p + l->target, l->target_end - l->target };
        f->have = RX_FACT_METHOD | RX_FACT_VERSION | RX_FACT_PATH;
    } else {
        read_target(p, l, f);
    }
    if (f->want & RX_FACT_HOST && !(f->have & RX_FACT_HOST) && version != VERSION_09)
        find_host(p + l->target_end, p + n, f);
    return RX_MATCH;
}

// ---- the rest of the request line ----------------------------------------------------------------------------------

// A line without a version. RFC 1945 5.1: Simple-Request = "GET" SP Request-URI CRLF
static enum rx_verdict RX_COLD identify_simple(const uint8_t *p, uint32_t n, const struct line *l, struct rx_facts *f)
{
    uint32_t at = l->target_end;
    if (!is_method(p, l, "GET") || (p[l->target] != '/' && !authority_of(p + l->target, p + at)))
        return refuse(p, l, n, f);
    if (p[at] == '\r' && ++at == n)
        return RX_MORE;
    return p[at] == '\n' ? match(p, n, l, VERSION_09, f) : refuse(p, l, n, f);
}

// What stands in the version's place is not, or not yet, "HTTP/1." and a digit.
static enum rx_verdict RX_COLD identify_version(const uint8_t *p, uint32_t n, const struct line *l,
                                                struct rx_facts *f)
{
    const uint8_t *version = p + l->target_end + 1;
    uint32_t there = n - l->target_end - 1, same = 0;
    while (same < 7 && same < there && version[same] == (uint8_t) "HTTP/1."[same])
        same++;
    if (same == there)
        return RX_MORE;
    if (same < 5)
        return refuse(p, l, n, f);
    if (same > 5 || l->method != 0 || memcmp(p, preface, RX_MIN(n, (uint32_t)PREFACE_LEN)) != 0)
        return no(f, RX_NOTE_HTTP_INVALID);
    if (n < PREFACE_LEN)
        return RX_MORE;
    f->version = VERSION_2;
    f->have = RX_FACT_VERSION; // the preface is not a request: method, path and host come later, compressed
    return RX_MATCH;
}

// First byte from `at` on that is not part of a method; `stop` when there is none. Most methods are GET.
static uint32_t method_end(const uint8_t *p, uint32_t at, uint32_t stop)
{
    if (stop - at >= 4 && memcmp(p + at, "GET ", 4) == 0)
        return at + 3;
    while (at < stop && is_method_byte[p[at]])
        at++;
    return at;
}

// What does not begin with a slash is "*", an authority for CONNECT, or a URL with its scheme (RFC 9112 3.2). This
// sends the line protocols away whose first word looks like a method ("USER joe", "PASS x", "CONNECT {json}").
static __attribute__((noinline)) bool may_be_target(const uint8_t *p, const struct line *l, uint32_t n)
{
    uint32_t at = l->target;
    if (p[at] == '*')
        return true;
    if (p[l->method] == 'C' && is_method(p, l, "CONNECT"))
        return p[at] != '{'; // NATS opens so, with JSON that could be long and have its space late
    while (at < n && is_scheme_byte[p[at]])
        at++;
    return at == n || (at > l->target && p[at] == ':');
}

// The length of a method of up to seven capital letters and its space, which nearly every request begins with,
// told from its first eight bytes at once; 0: look closer.
static inline uint32_t short_method(uint64_t w)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    uint64_t blank = w ^ ones * ' ', space = (blank - ones) & ~blank & tops;
    if (!space)
        return 0;
    uint64_t before = (space & -space) - 1; // the bits below the first space's top bit
    uint64_t up_to_z = w + ones * (0x7f - 'Z'), from_a = w + ones * (0x80 - 'A');
    if ((w | up_to_z | ~from_a) & tops & before)
        return 0;
    return (uint32_t)__builtin_ctzll(space) / 8;
}

// Behind the method and its space.
static __attribute__((noinline)) enum rx_verdict identify_target(const uint8_t *p, uint32_t n, uint32_t method,
                                                                 uint32_t end, struct rx_facts *f)
{
    struct line l = { .method = method, .method_end = end, .target = end + 1 };
    uint32_t at = l.target;
    if (RX_UNLIKELY(at < n && p[at] != '/' && !may_be_target(p, &l, n)))
        return RX_NO;
    at = target_end(p, at, n);
    l.target_end = at;
    if (RX_UNLIKELY(at == n))
        return RX_MORE;
    if (RX_LIKELY(p[at] == ' ' && at != l.target)) {
        const uint8_t *version = p + at + 1;
        if (RX_LIKELY(n - at > VERSION_LEN && memcmp(version, "HTTP/1.", 7) == 0 && (uint8_t)(version[7] - '0') <= 9))
            return match(p, n, &l, (uint16_t)(0x0100 + version[7] - '0'), f);
        return identify_version(p, n, &l, f);
    }
    if ((p[at] == '\r' || p[at] == '\n') && at != l.target)
        return identify_simple(p, n, &l, f);
    return refuse(p, &l, n, f);
}

// `at` is where the request line begins.
static enum rx_verdict identify_line(const uint8_t *p, uint32_t n, uint32_t at, struct rx_facts *f)
{
    if (p[at] < 'A' || p[at] > 'Z')
        return RX_NO;
    uint32_t stop = n - at > METHOD_MAX ? at + METHOD_MAX + 1 : n, end = method_end(p, at, stop);
    if (RX_UNLIKELY(end == stop))
        return end - at > METHOD_MAX ? RX_NO : RX_MORE;
    return p[end] == ' ' ? identify_target(p, n, at, end, f) : RX_NO;
}

// Empty lines before the request line (RFC 9112 2.2). A PROXY v2 header begins like that, too: CR LF CR LF
// NUL.
static enum rx_verdict RX_COLD identify_after_blank(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    uint32_t at = 0;
    for (; at < n && (p[at] == '\r' || p[at] == '\n'); at++) {
        if (at >= BLANK_MAX)
            return RX_NO;
        if (p[at] == '\r' && ++at < n && p[at] != '\n')
            return RX_NO;
    }
    return at >= n ? RX_MORE : identify_line(p, n, at, f);
}

static __attribute__((noinline)) enum rx_verdict identify_any(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    f->have = 0;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
    if (RX_UNLIKELY(n == 0))
        return RX_MORE;
    if (RX_UNLIKELY(p[0] == '\r' || p[0] == '\n'))
        return identify_after_blank(p, n, f);
    // The one other protocol whose first bytes look like a method, and a common one: no method begins so.
    if (n >= 4 && memcmp(p, "SSH-", 4) == 0)
        return RX_NO;
    return identify_line(p, n, 0, f);
}

// "HTTP/1." and a digit, which makes the highest byte.
static inline bool is_version(uint64_t w)
{
    const uint64_t start = WORD4('H', 'T', 'T', 'P') | (uint64_t)WORD4('/', '1', '.', 0) << 32;
    return (w & ~(uint64_t)0 >> 8) == start && (uint8_t)((w >> 56) - '0') <= 9;
}

// A request line as nearly every client sends it is told here, without a call, and so is a line of two words that
// is another protocol's; all else by identify_any. `first` is p[0] where the caller knows it.
static inline __attribute__((always_inline)) enum rx_verdict identify_quickly(const uint8_t *p, uint32_t n,
                                                                              char first, struct rx_facts *f)
{
    if (RX_UNLIKELY(n < 16)) // "GET / HTTP/1.1\r\n"
        return identify_any(p, n, f);
    uint64_t w = eight(p);
    uint32_t len = 3;
    if (first == 'S' && (uint32_t)w == WORD4('S', 'S', 'H', '-')) // as in identify_any
        return no(f, RX_NOTE_NONE);
    if (first != 'G' || (uint32_t)w != WORD4('G', 'E', 'T', ' ')) {
        len = short_method(w);
        if (RX_UNLIKELY(!len))
            return identify_any(p, n, f);
    }
    uint32_t end = target_end(p, len + 1, n);
    if (RX_UNLIKELY(p[len + 1] != '/')) {
        // neither a path nor a version: not even a simple request, but "USER joe" and the like
        if (first != 'G' && end != n && p[end] != ' ')
            return no(f, RX_NOTE_NONE);
        return identify_any(p, n, f);
    }
    if (RX_UNLIKELY(n - end <= VERSION_LEN || p[end] != ' '))
        return identify_any(p, n, f);
    uint64_t version = eight(p + end + 1);
    if (RX_UNLIKELY(!is_version(version)))
        return identify_any(p, n, f);
    f->have = 0;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
    if (RX_UNLIKELY(f->want)) {
        f->method = (struct rx_text){ p, len };
        f->path = (struct rx_text){ p + len + 1, end - len - 1 };
        f->version = (uint16_t)(0x0100 + (uint8_t)(version >> 56) - '0');
        f->have = RX_FACT_METHOD | RX_FACT_VERSION | RX_FACT_PATH;
        if (f->want & RX_FACT_HOST)
            find_host(p + end, p + n, f);
    }
    return RX_MATCH;
}

static enum rx_verdict identify_g(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return identify_quickly(p, n, 'G', f);
}

static enum rx_verdict identify_s(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return identify_quickly(p, n, 'S', f);
}

static enum rx_verdict identify_other(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return identify_quickly(p, n, 0, f);
}

static rx_identify_fn *identify_for(uint8_t first)
{
    return first == 'G' ? identify_g : first == 'S' ? identify_s : identify_other;
}

static enum rx_verdict identify(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    return n ? identify_for(p[0])(p, n, f) : identify_any(p, n, f);
}

const struct rx_proto rx_proto_http = {
    .name = "http",
    .transport = RX_TCP,
    .identify = identify,
    .identify_for = identify_for,
    .first = "\n\n\r\rAZ",
    .first_len = 6,
    .facts = RX_FACT_METHOD | RX_FACT_PATH | RX_FACT_VERSION | RX_FACT_HOST,
};
