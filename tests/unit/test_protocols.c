// SPDX-License-Identifier: MIT
// Enters: nothing. Leaves: that the smaller identifiers (all but tls, http, ssh) say yes, no and more where
// their specifications have it so. For every sample the contract of core/proto.h is checked at each prefix, and
// what matches must have been MORE (never NO) at each shorter one.
//
// Bytes are written here from the specifications, not taken from captures; those are test_corpus_proto.c's.
#include <ctype.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "identcheck.h"
#include "proto/list.h"

enum expectation {
    YES,
    NO,
    BROKEN, // NO, with the note
    MORE,
};

struct sample {
    enum expectation expect;
    const char *bytes;
    uint32_t n;
};

#define S(expect, literal)                                                                                           \
    {                                                                                                                \
        expect, literal, sizeof literal - 1                                                                          \
    }

static const struct rx_proto *const tried[] = {
    &rx_proto_dns,  &rx_proto_ftp,      &rx_proto_socks4, &rx_proto_socks5, &rx_proto_openvpn,
    &rx_proto_xmpp, &rx_proto_postgres, &rx_proto_mysql,  &rx_proto_redis,  &rx_proto_mqtt,
    &rx_proto_rdp,  &rx_proto_smtp,     &rx_proto_imap,   &rx_proto_pop3,   &rx_proto_vnc,
};

static void check_law(const struct rx_proto *proto, const void *p, uint32_t n)
{
    const char *broken = ident_law(proto, p, n, UINT32_MAX, NULL);
    if (!broken)
        broken = ident_law(proto, p, n, 0, NULL);
    if (broken)
        fail_msg("%s", broken);
}

static void check(const struct rx_proto *proto, const char *p, uint32_t n, enum expectation expect)
{
    static const char *const words[] = { "yes", "no", "broken", "more" };
    check_law(proto, p, n);
    struct ident_result r = ident_ask(proto, p, n, UINT32_MAX);
    enum expectation got = r.verdict == RX_MATCH      ? YES
                           : r.verdict == RX_MORE     ? MORE
                           : r.f.note == RX_NOTE_NONE ? NO
                                                      : BROKEN;
    if (got != expect)
        fail_msg("%s: %s, should be %s: %u bytes, '%.*s'", proto->name, words[got], words[expect], n,
                 (int)RX_MIN(n, 80u), p);
    if (expect != YES)
        return;
    for (uint32_t k = 0; k < n; k++)
        if (ident_ask(proto, p, k, 0).verdict == RX_NO)
            fail_msg("%s: a prefix of %u bytes was refused: '%.*s'", proto->name, k, (int)RX_MIN(n, 80u), p);
}

static void check_all(const struct rx_proto *proto, const struct sample *samples, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check(proto, samples[i].bytes, samples[i].n, samples[i].expect);
}

#define CHECK(name) check_all(&rx_proto_##name, name##_samples, RX_COUNT(name##_samples))

// One fact of one input
static void check_fact(const struct rx_proto *proto, const char *p, uint32_t n, uint32_t fact, const char *value)
{
    struct ident_result r = ident_ask(proto, p, n, fact);
    bool is_ok = value ? ident_is(&r, fact, value) : r.verdict == RX_MATCH && !(r.f.have & fact);
    if (!is_ok) {
        const struct rx_text *text = r.f.have & fact ? ident_text(&r.f, fact) : NULL;
        fail_msg("%s: fact is '%.*s', should be '%s'", proto->name, text ? (int)text->len : 0,
                 text ? (const char *)text->ptr : "", value ? value : "(absent)");
    }
    check_law(proto, p, n);
}

#define FACT(name, fact, literal, value)                                                                             \
    check_fact(&rx_proto_##name, literal, sizeof literal - 1, RX_FACT_##fact, value)

static void check_pending(const struct rx_proto *proto, const char *p, uint32_t n, uint32_t fact)
{
    struct ident_result r = ident_ask(proto, p, n, fact);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.pending, fact);
    assert_int_equal(ident_ask(proto, p, n, 0).f.pending, 0);
}

#define PENDING(name, fact, literal) check_pending(&rx_proto_##name, literal, sizeof literal - 1, RX_FACT_##fact)

// `literal`, then `count` times `filler`
static void check_long(const struct rx_proto *proto, const char *literal, uint32_t len, char filler, uint32_t count,
                       enum expectation expect)
{
    char *p = malloc(len + count);
    assert_non_null(p);
    memcpy(p, literal, len);
    memset(p + len, filler, count);
    check(proto, p, len + count, expect);
    free(p);
}

#define LONG(name, literal, filler, count, expect)                                                                   \
    check_long(&rx_proto_##name, literal, sizeof literal - 1, filler, count, expect)

// ---- dns

#define QUERY(flags, counts) "\x12\x34" flags counts
#define ONE "\0\1\0\0\0\0\0\0"
#define EXAMPLE "\7example\3com\0"
#define LABEL_63                                                                                                     \
    "\x3f"                                                                                                           \
    "0123456789012345678901234567890123456789012345678901234567890.."

static const struct sample dns_samples[] = {
    S(YES, "\0\x1d" QUERY("\1\0", ONE) EXAMPLE "\0\1\0\1"),
    S(YES, "\0\x11" QUERY("\0\0", ONE) "\0\0\2\0\1"),
    S(YES, "\0\x1d" QUERY("\1\x30", ONE) EXAMPLE "\0\x1c\0\xff"
                                                 "\0\x1d more"),
    S(YES, "\0\x28" QUERY("\1\x20", "\0\1\0\0\0\0\0\1") EXAMPLE "\0\1\0\1\0\0\x29\x10\0\0\0\0\0\0\0"),
    S(YES, "\0\x1d" QUERY("\x24\0", ONE) EXAMPLE "\0\6\0\1"),
    S(YES, "\0\x3e" QUERY("\x28\0", "\0\1\0\0\0\3\0\0") EXAMPLE "\0\6\0\1"),
    S(YES, "\0\x1d" QUERY("\x10\0", ONE) EXAMPLE "\0\1\0\1"),
    S(YES, "\0\x1e" QUERY("\0\0", ONE) "\7version\4bind\0\0\x10\0\3"),
    S(YES, "\0\x18\0\0\x30\0\0\0\0\0\0\0\0\0\0\1\0\x08\0\0\x3a\x98\0\0\x3a\x98"),
    S(MORE, ""),
    S(MORE, "\0\x1d"),
    S(MORE, "\0\x1d" QUERY("\1\0", ONE)),
    S(MORE, "\0\x1d" QUERY("\1\0", ONE) EXAMPLE "\0\1\0"),
    S(NO, "\0\0"),
    S(NO, "\0\x0b"),
    S(NO, "\0\x0f"),
    S(MORE, "\0\x10\0\0"),
    S(NO, "\0\x10\0\0\1"),
    S(NO, "\0\x1d" QUERY("\x81\x80", ONE) EXAMPLE "\0\1\0\1"),
    S(NO, "\0\x1d" QUERY("\x18\0", ONE) EXAMPLE "\0\1\0\1"),
    S(NO, "\0\x1d" QUERY("\1\x40", ONE) EXAMPLE "\0\1\0\1"),
    S(NO, "\0\x1d" QUERY("\1\3", ONE) EXAMPLE "\0\1\0\1"),
    S(NO, "\0\x1d" QUERY("\1\0", "\0\2\0\0\0\0\0\0")),
    S(NO, "\0\x1d" QUERY("\1\0", "\0\0\0\0\0\0\0\0")),
    S(NO, "\0\x1d" QUERY("\1\0", "\0\1\0\1\0\0\0\0")),
    S(NO, "\0\x1d" QUERY("\1\0", "\0\1\0\0\0\0\0\4")),
    S(NO, "\0\x3c" QUERY("\x28\0", "\0\1\0\0\0\4\0\0")), // no room for four updates
    S(NO, "\0\x18\0\0\x30\0\0\0\0\0\0\0\0\0\0\2\0\x08"),
    S(BROKEN, "\0\x1d" QUERY("\1\0", ONE) "\xc0\x0c"),
    S(BROKEN, "\0\x5d" QUERY("\1\0", ONE) "\x40"),
    S(BROKEN, "\0\x1d" QUERY("\1\0", ONE) "\x0d"),
    S(BROKEN, "\0\x1d" QUERY("\1\0", ONE) EXAMPLE "\0\1\0\2"),
    S(BROKEN, "\0\x1d" QUERY("\1\0", ONE) EXAMPLE "\0\0"),
    S(BROKEN, "\2\0" QUERY("\1\0", ONE) LABEL_63 LABEL_63 LABEL_63 LABEL_63),
    S(NO, "\x16\3\1\2\0\1\0\1\xfc\3\3"),
    S(NO, "\0\x0e\x38\1\2\3\4\5\6\7\x08\0\0\0\0\0"),
    S(NO, "\x01\0\0\0\1\2\3\4\5\6\7\x08\x09\x0a\x0b\x0c"), // WireGuard
    S(NO, "\x16\xfe\xff\0\0\0\0\0\0\0\0\0\xd9\1"),         // DTLS
    S(NO, "\xc3\0\0\0\1\x08\1\2\3\4\5\6\7\x08\0"),         // QUIC
    S(NO, "\0\0\0\x24\0\x12\0\3\0\0\0\1\0\7"),             // Kafka
};

static void dns(void **state)
{
    (void)state;
    CHECK(dns);
    FACT(dns, QNAME, "\0\x1d" QUERY("\1\0", ONE) EXAMPLE "\0\1\0\1", "example.com");
    FACT(dns, QNAME, "\0\x1d" QUERY("\1\0", ONE) "\7eXample\3COM\0\0\1\0\1", "eXample.COM");
    FACT(dns, QNAME, "\0\x11" QUERY("\0\0", ONE) "\0\0\2\0\1", ".");
    FACT(dns, QNAME, "\0\x1a" QUERY("\0\0", ONE) "\4a.b\\\3\0 \xff\0\0\1\0\1", "a\\.b\\\\.\\000\\032\\255");
    struct ident_result r = ident_ask(&rx_proto_dns, "\0\x11" QUERY("\0\0", ONE) "\0\1\xfc\0\1", 19, RX_FACT_QTYPE);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.qtype, 0x1fc);
    // the longest name there may be: 63, 63, 63 and 61
    char p[2 + 12 + 255 + 4];
    static const char head[] = "\1\x0f" QUERY("\1\0", ONE);
    memset(p, 'a', sizeof p);
    memcpy(p, head, 14);
    p[14] = p[78] = p[142] = 63;
    p[206] = 61;
    memcpy(p + 268, "\0\0\1\0\1", 5);
    check(&rx_proto_dns, p, sizeof p, YES);
    p[206] = 62;
    p[1] = 0x10;
    check(&rx_proto_dns, p, sizeof p, BROKEN);
}

// ---- lines

static const struct sample ftp_samples[] = {
    S(YES, "USER anonymous\r\n"),
    S(YES, "user joe\n"),
    S(YES, "USER joe \r\nPASS x\r\n"),
    S(YES, "AUTH TLS\r\n"),
    S(YES, "AUTH SSL\r\n"),
    S(YES, "auth tls-c\r\n"),
    S(YES, "AUTH GSSAPI\r\n"),
    S(YES, "FEAT\r\n"),
    S(YES, "HOST ftp.example.com\r\n"),
    S(YES, "SYST\r\n"),
    S(YES, "OPTS UTF8 ON\r\n"),
    S(YES, "CWD /pub\r\n"),
    S(YES, "CCC\r\n"),
    S(YES, "TYPE I\r\n"),
    S(YES, "TYPE A N\r\n"),
    S(YES, "EPSV\r\n"),
    S(YES, "EPSV ALL\r\n"),
    S(YES, "MODE S\r\n"),
    S(YES, "PBSZ 0\r\n"),
    S(YES, "USER j\xc3\xb6\r\n"),
    S(MORE, ""),
    S(MORE, "U"),
    S(MORE, "USER"),
    S(MORE, "USER "),
    S(MORE, "USER joe"),
    S(MORE, "USER joe\r"),
    S(MORE, "AUTH TL"),
    S(MORE, "CC"),
    S(NO, "USER joe 0 * :Joe\r\n"),
    S(NO, "USER\r\n"),
    S(NO, "USER \r\n"),
    S(NO, "USER a\0b\r\n"),
    S(NO, "USERS x\r\n"),
    S(NO, "AUTH PLAIN\r\n"),
    S(NO, "AUTH\r\n"),
    S(NO, "AUTH TLSX"),
    S(NO, "MODE READER\r\n"),
    S(NO, "HELP\r\n"),
    S(NO, "QUIT\r\n"),
    S(NO, "NOOP\r\n"),
    S(NO, "LIST\r\n"),
    S(NO, "STAT\r\n"),
    S(NO, "PASS secret\r\n"),
    S(NO, "CAPA\r\n"),
    S(NO, "FEAT x\r\n"),
    S(NO, "CWD\r\n"),
    S(NO, "GET / HTTP/1.1\r\n"),
    S(NO, "TYPE key\r\n"),
    S(NO, "stats\r\n"),
    S(NO, "use port=10011\n"),
    S(NO, "USER joe\rx"),
};

static const struct sample smtp_samples[] = {
    S(YES, "EHLO vm\r\n"),
    S(YES, "HELO example.com\r\nMAIL FROM:<a@b>\r\n"),
    S(YES, "LHLO [192.0.2.1]\r\n"),
    S(YES, "ehlo [IPv6:2001:db8::1]\n"),
    S(YES, "Ehlo a_b \r\n"),
    S(MORE, "E"),
    S(MORE, "EHLO"),
    S(MORE, "EHLO "),
    S(MORE, "EHLO vm"),
    S(MORE, "EHLO vm\r"),
    S(NO, "HELP\r\n"),
    S(NO, "NOOP\r\n"),
    S(NO, "EHLOX"),
    S(NO, "HELO\r\n"),
    S(BROKEN, "EHLO\r\n"),
    S(BROKEN, "EHLO \r\n"),
    S(BROKEN, "EHLO a\0b\r\n"),
    S(NO, "HELLO 3\r\n"),
    S(NO, "STARTTLS\r\n"),
};

static const struct sample imap_samples[] = {
    S(YES, "A001 CAPABILITY\r\n"),
    S(YES, ". CAPABILITY\r\n"),
    S(YES, "a1 login joe secret\r\n"),
    S(YES, "1 LOGIN {3}\r\n"),
    S(YES, "x LOGOUT\r\n"),
    S(YES, "A1 NOOP\r\n"),
    S(YES, "a2 STARTTLS\r\n"),
    S(YES, "a3 AUTHENTICATE PLAIN AGpvZQBzZWNyZXQ=\r\n"),
    S(YES, "a4 ID (\"name\" \"x\""),
    S(YES, "a4 ID NIL\r\n"),
    S(YES, "abcd CAPABILITY\r\n"),
    S(YES, "1.2-3 capability\n"),
    S(MORE, "a"),
    S(MORE, "A001"),
    S(MORE, "A001 "),
    S(MORE, "A001 CAP"),
    S(MORE, "A001 ID"),
    S(MORE, "a LOGIN x y"),
    S(NO, "NICK joe\r\n"),
    S(NO, "GET / HTTP/1.1\r\n"),
    S(NO, "CLIENT libcurl 7.88.1\r\n"),
    S(NO, "CLIENT ID\r\n"),
    S(NO, "HELP NOOP\r\n"),
    S(NO, "HELP CAPABILITY\r\n"),
    S(NO, "USER logout\r\n"),
    S(NO, "AUTH LOGIN\r\n"),
    S(NO, "AUTH LOGIN am9l\r\n"),
    S(NO, "get login a b\r\n"),
    S(NO, "STARTTLS\r\n"),
    S(NO, "CAPABILITIES\r\n"),
    S(NO, "example.test\r\n"),
    S(NO, " CAPABILITY\r\n"),
    S(NO, "* CAPABILITY\r\n"),
    S(NO, "a+b CAPABILITY\r\n"),
    S(NO, "a1 CAPABILITY x\r\n"),
    S(NO, "a1 IDLE\r\n"),
    S(NO, "a1 ID\r\n"),
    S(NO, "OPTIONS sip:a SIP/2.0\r\n"),
};

static const struct sample pop3_samples[] = {
    S(YES, "CAPA\r\n"),
    S(YES, "stls\n"),
    S(YES, "AUTH\r\n"),
    S(YES, "AUTH PLAIN\r\n"),
    S(YES, "AUTH XOAUTH2 dQ==\r\n"),
    S(YES, "AUTH SCRAM-SHA-256 biws\r\n"),
    S(YES, "USER joe\r\n"),
    S(YES, "APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n"),
    S(MORE, "C"),
    S(MORE, "CAPA"),
    S(MORE, "AUTH "),
    S(MORE, "AUTH PLA"),
    S(MORE, "APOP m"),
    S(MORE, "USER joe"),
    S(NO, "AUTH TLS\r\n"),
    S(NO, "AUTH SSL\r\n"),
    S(NO, "AUTH secret\r\n"),
    S(NO, "CAPABILITIES\r\n"),
    S(NO, "CAPA x\r\n"),
    S(NO, "QUIT\r\n"),
    S(NO, "NOOP\r\n"),
    S(NO, "PASS x\r\n"),
    S(NO, "APOP joe short\r\n"),
    S(NO, "USER joe 0 * :x\r\n"),
    S(NO, "USER\r\n"),
    S(NO, "USER \r\n"),
    S(NO, "APOP\r\n"),
    S(NO, "CAP LS 302\r\n"),
};

static const struct sample redis_samples[] = {
    S(YES, "*1\r\n$4\r\nPING\r\n"),
    S(YES, "*2\r\n$5\r\nHELLO\r\n$1\r\n3\r\n"),
    S(YES, "*3\r\n$7\r\nft.list"),
    S(YES, "*12\r\n$10\r\nXREADGROUP\r\n"),
    S(YES, "PING\r\n"),
    S(YES, "ping\n"),
    S(YES, "SET a b\r\n"),
    S(YES, "set a b\r\n"),
    S(YES, "SET a b EX 10\r\n"),
    S(YES, "GET key\r\n"),
    S(YES, "GET user:1\r\n"),
    S(YES, "INFO\r\n"),
    S(YES, "info replication\r\n"),
    S(YES, "HELLO 3\r\n"),
    S(YES, "SELECT 2\r\n"),
    S(YES, "ECHO hi\r\n"),
    S(YES, "FLUSHALL\r\n"),
    S(YES, "incr x\r\n"),
    S(MORE, "*"),
    S(MORE, "*1"),
    S(MORE, "*1\r"),
    S(MORE, "*1\r\n"),
    S(MORE, "*1\r\n$"),
    S(MORE, "*1\r\n$4\r\nPIN"),
    S(MORE, "PI"),
    S(MORE, "PING"),
    S(MORE, "SET a b"),
    S(NO, "*0"),
    S(NO, "*-1\r\n"),
    S(NO, "*01\r\n"),
    S(NO, "*1\n"),
    S(NO, "*1\r\r"),
    S(NO, "*12345678"),
    S(NO, "*1\r\n+"),
    S(NO, "*1\r\n$0"),
    S(NO, "*1\r\n$65\r\n"),
    S(NO, "*1\r\n$100"),
    S(NO, "*1\r\n$4\r\n1234"),
    S(NO, "*1\r\n$4\r\nP\0"),
    S(NO, "* OK hi\r\n"),
    S(NO, "get key1\r\n"),
    S(NO, "set k 0 0 5\r\n"),
    S(NO, "version\r\n"),
    S(NO, "stats\r\n"),
    S(NO, "incr x 1\r\n"),
    S(NO, "HELLO\r\n"),
    S(NO, "hello\n"),
    S(NO, "HELP\r\n"),
    S(NO, "GET /\r\n"),
    S(NO, "GET / HTTP/1.1\r\n"),
    S(NO, "GET http://a\r\n"),
    S(NO, "INFO sip:joe@example.test SIP/2.0\r\n"),
    S(NO, "PING :x\r\n"),
    S(NO, "AUTH x\r\n"),
    S(NO, "TYPE I\r\n"),
    S(NO, "CLIENT libcurl\r\n"),
    S(NO, "QUIT\r\n"),
    S(NO, "SELECT x\r\n"),
    S(NO, "INFO {\"a\":1}\r\n"),
};

static const struct sample vnc_samples[] = {
    S(YES, "RFB 003.008\n"), S(YES, "RFB 003.889\n"), S(YES, "RFB 005.000\n\1"),
    S(MORE, "RFB 00"),       S(BROKEN, "RFB 3.8"),    S(BROKEN, "RFB 003.008\r"),
    S(NO, "RFC "),
};

static void lines(void **state)
{
    (void)state;
    CHECK(ftp);
    CHECK(smtp);
    CHECK(imap);
    CHECK(pop3);
    CHECK(redis);
    CHECK(vnc);
    FACT(ftp, USER, "USER anonymous\r\n", "anonymous");
    FACT(ftp, USER, "user  Joe \r\n", "Joe");
    FACT(ftp, USER, "FEAT\r\n", NULL);
    FACT(pop3, USER, "USER joe@example.com\r\n", "joe@example.com");
    FACT(pop3, USER, "APOP mrose c4c9334bac560ecc979e58001b3e22fb\r\n", "mrose");
    FACT(pop3, USER, "CAPA\r\n", NULL);
    LONG(ftp, "USER ", 'a', 506, MORE);
    LONG(ftp, "USER ", 'a', 507, NO);
    LONG(ftp, "USER ", ' ', 1000, NO);
    LONG(smtp, "HELO ", 'a', 1000, NO);
    LONG(smtp, "EHLO ", 'a', 1000, BROKEN);
    LONG(imap, "", 'a', 64, MORE);
    LONG(imap, "", 'a', 65, NO);
    LONG(imap, "a LOGIN ", 'a', 2000, NO);
    LONG(pop3, "USER ", 'a', 1000, NO);
    LONG(redis, "ECHO ", 'a', 2000, NO);
}

// Every command of a table, in both cases, with arguments it takes; each is MORE on the way there
static void every_verb(void **state)
{
    static const char *const ftp[] = {
        "USER a", "AUTH TLS", "FEAT",   "SYST",   "CCC",    "CDUP",   "REIN",   "PASV",   "ABOR",   "PWD",
        "XCUP",   "XPWD",     "LPSV",   "STOU",   "NLST",   "EPSV",   "MLSD",   "MLST",   "HOST a", "OPTS a",
        "CLNT a", "PBSZ 0",   "ADAT a", "MIC a",  "CONF a", "ENC a",  "ACCT a", "CWD a",  "SMNT a", "PORT 1",
        "STOR a", "APPE a",   "ALLO 1", "REST 1", "RNFR a", "RNTO a", "RMD a",  "MKD a",  "SITE a", "XCWD a",
        "XMKD a", "XRMD a",   "LPRT 1", "EPRT |", "MDTM a", "SIZE a", "TYPE I", "MODE B", "STRU F", "PROT P",
    };
    static const char *const redis[] = {
        "PING",           "SET A B",   "GET A",        "ECHO A",       "INFO",      "HELLO 3",    "SELECT 1",
        "KEYS A",         "DBSIZE",    "CONFIG GET A", "COMMAND",      "MONITOR",   "EXISTS A",   "EXPIRE A 1",
        "TTL A",          "PTTL A",    "DEL A",        "INCR A",       "DECR A",    "MGET A",     "MSET A B",
        "SETEX A 1 B",    "SETNX A B", "HGET A B",     "HSET A B C",   "HGETALL A", "LPUSH A B",  "RPUSH A B",
        "LPOP A",         "RPOP A",    "LLEN A",       "LRANGE A 0 1", "SADD A B",  "SMEMBERS A", "ZADD A 1 B",
        "ZRANGE A 0 1",   "FLUSHDB",   "FLUSHALL",     "SLOWLOG GET",  "BGSAVE",    "PSYNC ? -1", "REPLCONF CAPA A",
        "SLAVEOF NO ONE",
    };
    (void)state;
    char line[64];
    for (size_t i = 0; i < RX_COUNT(ftp); i++) {
        int n = snprintf(line, sizeof line, "%s\r\n", ftp[i]);
        check(&rx_proto_ftp, line, (uint32_t)n, YES);
        for (int k = 0; k < n; k++)
            line[k] = (char)tolower((unsigned char)line[k]);
        check(&rx_proto_ftp, line, (uint32_t)n, YES);
    }
    for (size_t i = 0; i < RX_COUNT(redis); i++) {
        int n = snprintf(line, sizeof line, "%s\r\n", redis[i]);
        check(&rx_proto_redis, line, (uint32_t)n, YES);
    }
}

// Opening lines of protocols that have no identifier here
static void foreign_lines(void **state)
{
    static const struct sample samples[] = {
        S(NO, "STARTTLS\r\n"),
        S(NO, "CAPABILITIES\r\n"),
        S(NO, "MODE READER\r\n"),
        S(NO, "example.test\r\n"),
        S(NO, "version\r\n"),
        S(NO, "stats\r\n"),
        S(NO, "get key1\r\n"),
        S(NO, "HELP\r\n"),
        S(NO, "NOOP\r\n"),
        S(NO, "QUIT\r\n"),
        S(NO, "hello\n"),
        S(NO, "joe\r\n"),
        S(NO, "/x\r\n"),
        S(NO, "\r\n"),
        S(NO, "\2lp\n"),
        S(NO, "NICK joe\r\n"),
        S(NO, "CAP LS 302\r\n"),
        S(NO, "PASS secret\r\n"),
        S(NO, "CLIENT x 1\r\nDEFINE ! w\r\n"),
        S(NO, "use port=10011\n"),
        S(NO, "0 alpha 17\n"),
        S(NO, "<13>Nov 21 07:24:02 vm app: hi\n"),
        S(NO, "@RSYNCD: 32.0\n"),
        S(NO, "CONNECT {\"verbose\":false}\r\n"),
        S(NO, "CONNECT\nhost:/\n\n\0"),
        S(NO, "CONNECT a.test:443 HTTP/1.1\r\n\r\n"),
        S(NO, "OPTIONS rtsp://a/b RTSP/1.0\r\n"),
        S(NO, "SUBSCRIBE sip:a@b SIP/2.0\r\n"),
        S(NO, "REGISTER sip:b SIP/2.0\r\n"),
        S(NO, "SSH-2.0-OpenSSH_9.2\r\n"),
        S(NO, "zPING\0"),
        S(NO, "nVERSION\n"),
        S(NO, "AUTHENTICATE \"PLAIN\"\r\n"),
        S(NO, "{\"id\":0}\n"),
        S(NO, "<policy-file-request/>\0"),
        S(NO, "GET / HTTP/1.0\r\n\r\n"),
        S(NO, "PRI * HTTP/2.0\r\n\r\n"),
        S(NO, "DIST00000001ARGC"),
        S(NO, "ceph v2\n\x10\0"),
        S(NO, "AMQP\0\0\x09\1"),
        S(NO, "GIOP\1\2\0\0\0\0\0\0\0\0"),
        S(NO, "\0\0\0\x15\0\3\0\0\0\0\0\1\0\7rdkafka"),
        S(NO, "\5d\5\xc9\1\0\0\0\xde\x8e"),
        S(NO, "\4\0\0\x10\0\0\0\1\0\1\0\x08\0\0\0\x10"),
        S(NO, "\x10\0\xfb\5\x09"
              "127.0.0.1\xa9}\1\1\0"),
        S(NO, "\0\0\0\x2c\0\0\0\0\0\0\0\0\0\0\0\0"),
        S(NO, "\x6c\0\x0b\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"),
    };
    (void)state;
    for (size_t i = 0; i < RX_COUNT(tried); i++)
        for (size_t k = 0; k < RX_COUNT(samples); k++)
            if (ident_ask(tried[i], samples[k].bytes, samples[k].n, 0).verdict == RX_MATCH)
                fail_msg("%s takes '%s'", tried[i]->name, samples[k].bytes);
    for (size_t i = 0; i < RX_COUNT(tried); i++)
        for (size_t k = 0; k < RX_COUNT(samples); k++)
            check_law(tried[i], samples[k].bytes, samples[k].n);
}

// ---- proxies and tunnels

static const struct sample socks4_samples[] = {
    S(YES, "\4\1\0P\x7f\0\0\1\0"),
    S(YES, "\4\2\0P\x7f\0\0\1joe\0"),
    S(YES, "\4\1\0P\0\0\0\1\0www.example.test\0"),
    S(YES, "\4\1\0P\0\0\0\1joe\0"),
    S(MORE, "\4"),
    S(MORE, "\4\1\0P\x7f\0\0"),
    S(MORE, "\4\1\0P\x7f\0\0\1joe"),
    S(NO, "\4\x09"),
    S(NO, "\4\0\0\x10"),
    S(NO, "\4\1\0P\x7f\0\0\1a\nb\0"),
    S(NO, "\5\1"),
};

static const struct sample socks5_samples[] = {
    S(YES, "\5\1\0"),        S(YES, "\5\2\0\1"),  S(YES, "\5\3\0\1\2\5\1"), S(YES, "\5\2\0\x80"),
    S(YES, "\5\1\x02"),      S(MORE, "\5"),       S(MORE, "\5\2"),          S(MORE, "\5\2\0"),
    S(NO, "\5\0"),           S(NO, "\5\xff"),     S(NO, "\5\2\0\0"),        S(NO, "\5\1\xff"),
    S(NO, "\5\1\x0a"),       S(NO, "\5\0\x0b\3"), S(NO, "\5d\5\xc9\1\0\0"), S(NO, "\4\1"),
    S(NO, "\5\x10\0\0\5\0"),
};

#define SID "\1\2\3\4\5\6\7\x08"
#define H16 "0123456789abcdef"
#define REPLAY "\0\0\0\1\x6b\1\x47\x08"

static const struct sample openvpn_samples[] = {
    S(YES, "\0\x0e\x38" SID "\0\0\0\0\0"),
    S(YES, "\0\x0e\x08" SID "\0\0\0\0\0"),
    S(YES, "\0\x26\x38" SID H16 REPLAY "\0\0\0\0\0"),
    S(YES, "\0\x2a\x38" SID H16 "0123" REPLAY "\0\0\0\0\0"),
    S(YES, "\0\x36\x38" SID REPLAY H16 H16 "\1\2\3\4\5"),
    S(YES, "\0\x36\x38" SID H16 H16 REPLAY "\0\0\0\0\0"),
    S(YES, "\0\x56\x38" SID H16 H16 H16 H16 REPLAY "\0\0\0\0\0"),
    S(YES, "\1\x61\x50" SID "\x0f\0\0\1\x6b\1\x47\x0d"),
    S(YES, "\1\x58\x50" SID REPLAY),
    S(MORE, "\0"),
    S(MORE, "\0\x0e"),
    S(MORE, "\0\x0e\x38" SID),
    S(MORE, "\0\x36\x38" SID H16 H16 REPLAY "\0\0\0\0"),
    S(NO, "\xff\xff\x38"),
    S(NO, "\0\x0f"),
    S(NO, "\0\x0e\x39"),
    S(NO, "\0\x0e\x50"),
    S(NO, "\1\x61\x38"),
    S(NO, "\1\x57"),
    S(NO, "\4\x37"),
    S(NO, "\0\x0e\x40"),
    S(BROKEN, "\0\x0e\x38" SID "\1"),
    S(BROKEN, "\0\x0e\x38" SID "\0\0\0\0\1"),
    S(BROKEN, "\0\x2a\x38" SID H16 "0123"
              "\0\0\0\0"),
    S(BROKEN, "\0\x2a\x38" SID H16 "0123" REPLAY "\0\0\0\0\1"),
    S(BROKEN, "\1\x61\x50" SID "\x0e"),
};

static void tunnels(void **state)
{
    (void)state;
    CHECK(socks4);
    CHECK(socks5);
    CHECK(openvpn);
    FACT(socks4, USER, "\4\1\0P\x7f\0\0\1joe\0", "joe");
    FACT(socks4, USER, "\4\1\0P\x7f\0\0\1\0", NULL);
    FACT(socks4, HOST, "\4\1\0P\x7f\0\0\1\0www.example.test\0", NULL);
    FACT(socks4, HOST, "\4\1\0P\0\0\0\1joe\0www.example.test\0", "www.example.test");
    FACT(socks4, HOST, "\4\1\0P\0\0\0\1joe\0a b\0", NULL);
    FACT(socks4, HOST, "\4\1\0P\0\0\0\0joe\0a.test\0", NULL);
    PENDING(socks4, HOST, "\4\1\0P\0\0\0\1joe\0www.exam");
    LONG(socks4, "\4\1\0P\x7f\0\0\1", 'u', 255, MORE);
    LONG(socks4, "\4\1\0P\x7f\0\0\1", 'u', 256, BROKEN);
    char p[2 + 137];
    for (unsigned i = 0; i < 137; i++)
        p[2 + i] = (char)(i < 10 ? i : i - 10 + 0x80);
    p[0] = 5;
    p[1] = (char)137;
    check(&rx_proto_socks5, p, sizeof p, YES);
    p[1] = (char)138;
    check(&rx_proto_socks5, p, sizeof p, NO);
}

// ---- xmpp

#define STREAM "<stream:stream "
#define NS "xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "

static const struct sample xmpp_samples[] = {
    S(YES, STREAM),
    S(YES, "<?xml version='1.0'?>" STREAM NS "to='a.test'>"),
    S(YES, "<stream:stream\nto='a'>"),
    S(YES, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\r\n \t" STREAM),
    S(MORE, "<"),
    S(MORE, "<?"),
    S(MORE, "<?xml"),
    S(MORE, "<?xml version='1.0'?"),
    S(MORE, "<?xml version='1.0'?>\n"),
    S(MORE, "<stream:stream"),
    S(NO, "<flash:stream "),
    S(NO, "<stream:streams"),
    S(NO, "<policy-file-request/>"),
    S(NO, "<?xmlx "),
    S(NO, "<?xml version='1.0'>"),
    S(NO, "<?xml <"),
    S(NO, "<?xml version='1.0'?><html"),
    S(NO, " " STREAM),
    S(NO, "<!DOCTYPE"),
    S(NO, "<?xml-stylesheet ?>"),
};

static void xmpp(void **state)
{
    (void)state;
    CHECK(xmpp);
    FACT(xmpp, HOST, STREAM NS "to='a.test' version='1.0'>", "a.test");
    FACT(xmpp, HOST, "<?xml version='1.0'?>" STREAM "to = \"A.Test\" " NS, "A.Test");
    FACT(xmpp, HOST, STREAM "from='to' id=\"to='x'\" to='y'>", "y");
    FACT(xmpp, HOST, STREAM NS ">to='b.test'", NULL);
    FACT(xmpp, HOST, STREAM NS "/>", NULL);
    FACT(xmpp, HOST, STREAM "to=a to='b'>", NULL);
    FACT(xmpp, HOST, STREAM "to=''>", NULL);
    PENDING(xmpp, HOST, STREAM);
    PENDING(xmpp, HOST, STREAM NS "to='a.te");
    LONG(xmpp, "<?xml version='1.0'", ' ', 900, MORE);
    LONG(xmpp, "<?xml version='1.0'", ' ', 1100, NO);
    LONG(xmpp, "<?xml version='1.0'?>", '\n', 1100, NO);
    LONG(xmpp, STREAM "to='", 'a', 5000, YES);
    LONG(xmpp, STREAM, ' ', 5000, YES);
    char *p = malloc(6000);
    assert_non_null(p);
    memset(p, 'a', 6000);
    memcpy(p, STREAM "to='", sizeof STREAM + 3);
    check_fact(&rx_proto_xmpp, p, 6000, RX_FACT_HOST, NULL);
    free(p);
}

// ---- databases, mqtt, rdp

#define PG "\0\0\0\x1b\0\3\0\0"
#define PG_END "database\0app\0\0"

static const struct sample postgres_samples[] = {
    S(YES, "\0\0\0\x08\4\xd2\x16\x2f"),
    S(YES, "\0\0\0\x08\4\xd2\x16\x30\0\0\0"),
    S(YES, "\0\0\0\x10\4\xd2\x16\x2e"),
    S(YES, "\0\0\1\x0c\4\xd2\x16\x2e"),
    S(YES, "\0\0\0\x12\0\3\0\0user\0joe\0\0"),
    S(YES, "\0\0\0\x12\0\3\0\2user"),
    S(YES, "\0\0\x27\x10\0\3\0\0client_encoding"),
    S(YES, "\0\0\1\x28\0\2\0\0db"),
    S(YES, "\0\0\0\x12\0\3\x27\x0fuser"),
    S(MORE, "\0"),
    S(MORE, "\0\0\0\x08"),
    S(MORE, "\0\0\0\x08\4\xd2\x16"),
    S(MORE, "\0\0\0\x12\0\3\0\0"),
    S(MORE, "\0\0\0\x12\0\3\0\0use"),
    S(BROKEN, "\x7f\xff\xff\xff\0\3\0\0user\0a\0"),
    S(NO, "\0\0\x27\x11"),
    S(BROKEN, "\0\0\x27\x11\0\3\0\0"),
    S(BROKEN, "\0\0\0\x09\4\xd2\x16\x2f"),
    S(BROKEN, "\0\0\1\x0d\4\xd2\x16\x2e"),
    S(NO, "\0\0\0\x08\0\3"),
    S(NO, "\0\0\0\7"),
    S(NO, "\0\0\0\x12\0\4\0\0"),
    S(NO, "\0\0\0\x12\0\3\0\3user"),
    S(NO, "\0\0\0\x15\0\3\0\0\0\0\0\1\0\7rdkafka"),
    S(NO, "\0\0\0\x12\0\3\0\0us\0r"),
    S(NO, "\0\0\0\x26\xfeSMB"),
};

#define ZEROS19 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"

static const struct sample mysql_samples[] = {
    S(YES, "\x20\0\0\1\x85\xae\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0"),
    S(YES, "\x50\0\0\1\x85\xa6\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0joe\0"),
    S(YES, "\x20\0\0\1\x84\xae\xbf\0\0\0\0\1\x2d" ZEROS19 "\x1d\0\0\0"),
    S(MORE, "\x20\0\0\1"),
    S(MORE, "\0\1\0"),
    S(MORE, "\x20\0\0\1\x85\xae\xff\0\0\0\0\1\x2d"),
    S(NO, "\x1f\0\0"),
    S(NO, "\x21\0\0"),
    S(NO, "\x20\0\0\0"),
    S(NO, "\x20\0\0\1\x85\xac\xff"),
    S(NO, "\x20\0\0\1\x85\xa6\xff"),
    S(NO, "\x20\0\1\1"),
    S(NO, "\x20\0\0\1\x85\xae\xff\0\0\0\0\1\x2d\1"),
    S(NO, "\x16\3\1\1\0\1"),
    S(NO, "\x20\0\0\1\x85\xae\xbf\0\0\0\0\1\x2d" ZEROS19 "\x1d\0\0\0"),
};

static const struct sample mqtt_samples[] = {
    S(YES, "\x10\x10\0\4MQTT\4\2\0<\0\4dev1"),
    S(YES, "\x10\x12\0\6MQIsdp\3\2\0<\0\4dev1"),
    S(YES, "\x10\x14\0\4MQTT\5\2\0<\3!\0\x14"),
    S(YES, "\x10\x10\0\4MQTT\x84\2"),
    S(YES, "\x10\x90\1\0\4MQTT\4\xc2"),
    S(YES, "\x10\x90\x80\x80\1\0\4MQTT\4\2"),
    S(MORE, "\x10"),
    S(MORE, "\x10\x90"),
    S(MORE, "\x10\x10\0\4MQ"),
    S(MORE, "\x10\x10\0\4MQTT\4"),
    S(BROKEN, "\x10\xff\xff\xff\xff\1\0\4MQTT\4\2"),
    S(NO, "\x10\x0b"),
    S(NO, "\x10\x10\0\4XQTT\4\2"),
    S(NO, "\x10\x10\0\5"),
    S(NO, "\x10\x0c\0\6"),
    S(BROKEN, "\x10\x10\0\4MQTT\3"),
    S(BROKEN, "\x10\x10\0\4MQTT\6"),
    S(BROKEN, "\x10\x12\0\6MQIsdp\4"),
    S(BROKEN, "\x10\x10\0\4MQTT\4\3"),
    S(NO, "\x20\x10"),
    S(NO, "\x10\0\x2f\x09localhost"),
};

#define CR(len, li) "\3\0\0" len li "\xe0\0\0\0\0\0"

static const struct sample rdp_samples[] = {
    S(YES, CR("\x2c", "\x27") "Cookie: mstshash=eltons\r\n\1\0\x08\0\0\0\0\0"),
    S(YES, CR("\x0b", "\6")),
    S(YES, CR("\x13", "\x0e") "\1\0\x08\0\3\0\0\0"),
    S(YES, CR("\x30", "\x2b") "Cookie: msts=3640205228.15629.0000\r\n"),
    S(YES, CR("\x30", "\x2b") "tsv://MS Terminal"),
    S(YES, CR("\x27", "\x22") "Cookie: mstshash=joejoejoejo"),
    S(MORE, "\3"),
    S(MORE, "\3\0\0\x2c"),
    S(MORE, CR("\x2c", "\x27")),
    S(MORE, CR("\x2c", "\x27") "Cookie:"),
    S(MORE, CR("\x13", "\x0e") "\1\0\x08"),
    S(NO, "\3\0\0\5\0"),
    S(NO, "\3\0\xff"),
    S(NO, "\3\0\0\0\0\x09"),
    S(NO, "\3\1"),
    S(NO, "\3\0\0\x2c\x26"),
    S(BROKEN, "\3\0\0\x2c\x26\xe0"),
    S(BROKEN, "\3\0\xff\xff\x0e\xe0\0\0"),
    S(NO, "\3\0\0\x16\x11\xe0\0\0\0\1\0\xc0\1\x0a\xc1\2\1\0\xc2\2\1\2"),
    S(NO, "\3\0\0\x0b\6\xe0\0\0\0\1\0"),
    S(NO, "\3\0\0\x0b\6\xd0"),
    S(NO, CR("\x13", "\x0e") "\1\0\x09"),
    S(NO, CR("\x12", "\x0d") "\1\0\x08\0"),
    S(BROKEN, CR("\x0f", "\x0a") "Cook"),
    S(BROKEN, "\3\0\0\x13\x0e\xe0\0\1"),
};

static void databases(void **state)
{
    (void)state;
    CHECK(postgres);
    CHECK(mysql);
    CHECK(mqtt);
    CHECK(rdp);
    FACT(postgres, USER, "\0\0\0\x20\0\3\0\0user\0joe\0" PG_END, "joe");
    FACT(postgres, USER,
         "\0\0\0\x20\0\3\0\0"
         "database\0app\0user\0joe\0\0",
         "joe");
    FACT(postgres, USER, "\0\0\0\x18\0\3\0\0" PG_END "user\0eve\0", NULL);
    FACT(postgres, USER, "\0\0\0\x08\4\xd2\x16\x2f\0\0\0\x20\0\3\0\0user\0joe\0", NULL);
    FACT(postgres, USER, "\0\0\0\x12\0\3\0\0user\0joejoe\0", NULL); // beyond the length
    PENDING(postgres, USER, "\0\0\0\x20\0\3\0\0user\0jo");
    PENDING(postgres, USER, "\0\0\1\x28\0\2\0\0db");
    char v2[296] = "\0\0\1\x28\0\2\0\0db";
    memcpy(v2 + 72, "joe", 3);
    check_fact(&rx_proto_postgres, v2, sizeof v2, RX_FACT_USER, "joe");
    FACT(mysql, USER, "\x50\0\0\1\x85\xa6\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0joe\0", "joe");
    FACT(mysql, USER, "\x20\0\0\1\x85\xae\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0\x16\3\1", NULL);
    FACT(mysql, USER, "\x24\0\0\1\x85\xa6\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0joejoe\0", NULL);
    PENDING(mysql, USER, "\x50\0\0\1\x85\xa6\xff\0\0\0\0\1\x2d" ZEROS19 "\0\0\0\0jo");
    FACT(rdp, USER, CR("\x2c", "\x27") "Cookie: mstshash=eltons\r\n\1\0\x08\0\0\0\0\0", "eltons");
    FACT(rdp, USER, CR("\x30", "\x2b") "Cookie: msts=3640205228.15629.0000\r\n", NULL);
    FACT(rdp, USER, CR("\x27", "\x22") "Cookie: mstshash=joejoejoejo\r\n", NULL); // ends behind the packet
    PENDING(rdp, USER, CR("\x2c", "\x27") "Cookie: mst");
    PENDING(rdp, USER, CR("\x2c", "\x27") "Cookie: mstshash=elt");
    struct ident_result r = ident_ask(&rx_proto_mqtt, "\x10\x10\0\4MQTT\x84\2", 10, RX_FACT_VERSION);
    assert_int_equal(r.verdict, RX_MATCH);
    assert_int_equal(r.f.version, 4);
}

// ---- all of them

static void everything_that_is_nothing(void **state)
{
    (void)state;
    static char p[2048];
    for (unsigned byte = 0; byte < 256; byte++) {
        memset(p, (int)byte, sizeof p);
        for (size_t i = 0; i < RX_COUNT(tried); i++) {
            assert_int_equal(ident_ask(tried[i], p, 0, 0).verdict, RX_MORE);
            if (ident_ask(tried[i], p, sizeof p, 0).verdict != RX_NO)
                fail_msg("%s: 2048 times %02x is not refused", tried[i]->name, byte);
        }
    }
}

// `first` names the bytes that are not refused on their own, no more
static void first_bytes_are_exact(void **state)
{
    (void)state;
    for (size_t i = 0; i < RX_COUNT(tried); i++) {
        const struct rx_proto *proto = tried[i];
        for (unsigned byte = 0; byte < 256; byte++) {
            uint8_t p = (uint8_t)byte;
            bool is_listed = !proto->first;
            for (unsigned k = 0; k < proto->first_len; k += 2)
                is_listed |= p >= (uint8_t)proto->first[k] && p <= (uint8_t)proto->first[k + 1];
            if ((ident_ask(proto, &p, 1, 0).verdict == RX_NO) == is_listed)
                fail_msg("%s: first byte %02x", proto->name, byte);
        }
    }
}

static void random_bytes_are_nothing(void **state)
{
    (void)state;
    uint64_t seed = 1;
    for (unsigned round = 0; round < 20000; round++) {
        uint8_t p[64];
        for (size_t i = 0; i < sizeof p; i++) {
            seed = seed * 6364136223846793005u + 1442695040888963407u;
            p[i] = (uint8_t)(seed >> 56);
        }
        // half of them with a length in front, as so many protocols have it
        if (round & 1)
            p[0] = 0;
        for (size_t i = 0; i < RX_COUNT(tried); i++)
            if (ident_ask(tried[i], p, sizeof p, 0).verdict == RX_MATCH && tried[i] != &rx_proto_socks5)
                fail_msg("%s takes random bytes, round %u", tried[i]->name, round);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dns),
        cmocka_unit_test(lines),
        cmocka_unit_test(every_verb),
        cmocka_unit_test(foreign_lines),
        cmocka_unit_test(tunnels),
        cmocka_unit_test(xmpp),
        cmocka_unit_test(databases),
        cmocka_unit_test(everything_that_is_nothing),
        cmocka_unit_test(first_bytes_are_exact),
        cmocka_unit_test(random_bytes_are_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
