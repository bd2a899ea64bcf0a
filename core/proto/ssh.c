// SPDX-License-Identifier: MIT
// Enters: the first bytes of a TCP connection. Leaves: whether they are an SSH client's identification string
// (RFC 4253 4.2) and its software; and, as a protocol of its own, whether that software only moves files.
//
// Invariants:
// - ssh matches once "SSH-", a protocol version and "-" are there; `software` is pending until the end of the line.
// - sftp needs the whole line, matches only clients from `file_clients` or with "sftp" in their name, and is never
//   matched where ssh is not.
//
// `software` is all that follows the protocol version: softwareversion and, behind a space, the comments.
// Distributors put what tells builds apart into the comments ("OpenSSH_9.2p1 Debian-2+deb12u10"), and FlowSsh
// puts the program's name there.
//
// Deliberately not done: telling sftp from ssh for OpenSSH, PuTTY's psftp, libssh or paramiko. They name the
// library, and what will be asked of it comes encrypted.
#include "list.h"

#include <string.h>
#include <strings.h>

enum {
    LINE_MAX_LEN = 255, // RFC 4253 4.2, CR LF included
    DIGITS_MAX = 3,     // of either half of the protocol version
};

// Clients that do nothing but file transfer, by how their software string begins, in any case. Seen in server
// and client logs: Cyberduck/6.7.1.28683, FileZilla_3.68.1, PuTTYFileZilla_1.0.0 (older FileZilla),
// rclone/v1.69.0, SecureFX_8.1, WinSCP_release_5.19, WS_FTP-12.9.0-0. The others are the names their makers
// sell them by.
static const char *const file_clients[] = { "CoreFTP",    "CuteFTP",       "Cyberduck",    "edtFTP",
                                            "ExpanDrive", "FileZilla",     "FlashFXP",     "ForkLift",
                                            "JSCAPE",     "Mountain Duck", "MountainDuck", "PuTTYFileZilla",
                                            "rclone",     "SecureFX",      "SmartFTP",     "Transmit",
                                            "WinSCP",     "WS_FTP",        "Xftp" };

// The end of "SSH-" 1*DIGIT "." 1*DIGIT "-": 0 when that is not there, with *verdict saying whether it may
// still come
static uint32_t read_version(const uint8_t *p, uint32_t n, struct rx_facts *f, enum rx_verdict *verdict)
{
    if (RX_LIKELY(n >= 8 && memcmp(p, "SSH-2.0-", 8) == 0)) {
        f->version = 0x0200;
        return 8;
    }
    *verdict = RX_MORE;
    uint32_t at = 0, part[2] = { 0, 0 };
    for (; at < 4; at++) {
        if (at == n)
            return 0;
        if (p[at] != (uint8_t) "SSH-"[at])
            goto no;
    }
    for (unsigned half = 0; half < 2; half++) {
        uint32_t digits = 0;
        for (; at < n && p[at] >= '0' && p[at] <= '9' && digits <= DIGITS_MAX; at++, digits++)
            part[half] = part[half] * 10 + p[at] - '0';
        if (digits > DIGITS_MAX)
            goto broken;
        if (at == n)
            return 0;
        if (digits == 0 || p[at++] != (half ? '-' : '.'))
            goto broken;
    }
    f->version = (uint16_t)(RX_MIN(part[0], 255u) << 8 | RX_MIN(part[1], 255u));
    return at;
broken:
    f->note = RX_NOTE_PROTO_INVALID;
no:
    *verdict = RX_NO;
    return 0;
}

// First byte from `at` on that is not printable ASCII; n when there is none. Eight at a time: the top bit of a byte in
// `hit` is set for bytes below 0x20, for 0x7f and above. Borrows can make that wrong only above the first true one.
static uint32_t printable_end(const uint8_t *p, uint32_t at, uint32_t n)
{
    const uint64_t ones = 0x0101010101010101u, tops = 0x8080808080808080u;
    for (; n - at >= 8; at += 8) {
        uint64_t w;
        memcpy(&w, p + at, sizeof w);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        w = __builtin_bswap64(w);
#endif
        uint64_t hit = ((w - ones * 0x20) | (w + ones) | w) & tops;
        if (hit)
            return at + (uint32_t)__builtin_ctzll(hit) / 8;
    }
    while (at < n && p[at] >= ' ' && p[at] <= '~')
        at++;
    return at;
}

// The rest of the line, if it is all there and printable (RFC 4253 4.2: US-ASCII, no NUL; a bare LF ends the line of
// older clients). RX_NO: it never will be.
static enum rx_verdict read_software(const uint8_t *p, uint32_t n, uint32_t at, struct rx_text *software)
{
    uint32_t limit = RX_MIN(n, (uint32_t)LINE_MAX_LEN), end = printable_end(p, at, limit), lf = end;
    if (lf < limit && p[lf] == '\r')
        lf++;
    if (lf == limit)
        return n < LINE_MAX_LEN ? RX_MORE : RX_NO;
    if (p[lf] != '\n' || end == at)
        return RX_NO;
    *software = (struct rx_text){ p + at, end - at };
    return RX_MATCH;
}

static void reset(struct rx_facts *f)
{
    f->have = 0;
    f->pending = 0;
    f->need = 0;
    f->note = RX_NOTE_NONE;
}

static __attribute__((noinline)) enum rx_verdict identify_any(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    reset(f);
    enum rx_verdict verdict;
    uint32_t at = read_version(p, n, f, &verdict);
    if (at == 0)
        return verdict;
    f->have = RX_FACT_VERSION;
    if (f->want & RX_FACT_SOFTWARE) {
        verdict = read_software(p, n, at, &f->software);
        if (verdict == RX_MATCH)
            f->have |= RX_FACT_SOFTWARE;
        else if (verdict == RX_MORE)
            f->pending = RX_FACT_SOFTWARE;
    }
    return RX_MATCH;
}

// Nearly all there are, when nobody asks for the software.
static enum rx_verdict identify_ssh(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    if (RX_LIKELY(n >= 8 && memcmp(p, "SSH-2.0-", 8) == 0 && !(f->want & RX_FACT_SOFTWARE))) {
        reset(f);
        f->have = RX_FACT_VERSION;
        f->version = 0x0200;
        return RX_MATCH;
    }
    return identify_any(p, n, f);
}

static bool is_file_client(struct rx_text software)
{
    const char *name = (const char *)software.ptr;
    for (unsigned i = 0; i < RX_COUNT(file_clients); i++) {
        size_t len = strlen(file_clients[i]);
        if ((name[0] | 0x20) == (file_clients[i][0] | 0x20) && software.len >= len &&
            strncasecmp(name, file_clients[i], len) == 0)
            return true;
    }
    for (uint32_t i = 0; i + 4 <= software.len; i++)
        if ((name[i] | 0x20) == 's' && strncasecmp(name + i, "sftp", 4) == 0)
            return true;
    return false;
}

static enum rx_verdict identify_sftp(const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    reset(f);
    enum rx_verdict verdict;
    uint32_t at = read_version(p, n, f, &verdict);
    if (at == 0)
        return verdict;
    struct rx_text software;
    verdict = read_software(p, n, at, &software);
    if (verdict != RX_MATCH)
        return verdict;
    if (!is_file_client(software))
        return RX_NO;
    f->software = software;
    f->have = RX_FACT_VERSION | RX_FACT_SOFTWARE;
    return RX_MATCH;
}

const struct rx_proto rx_proto_ssh = {
    .name = "ssh",
    .transport = RX_TCP,
    .identify = identify_ssh,
    .first = "SS",
    .first_len = 2,
    .facts = RX_FACT_SOFTWARE | RX_FACT_VERSION,
};

const struct rx_proto rx_proto_sftp = {
    .name = "sftp",
    .transport = RX_TCP,
    .identify = identify_sftp,
    .first = "SS",
    .first_len = 2,
    .facts = RX_FACT_SOFTWARE | RX_FACT_VERSION,
};
