// SPDX-License-Identifier: MIT
// Addresses as users write them and as sockets want them, and the CIDR blocks they are compared with.
#pragma once

#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base.h"

// The other end of a client connection: small, because every connection carries one.
union rx_ip {
    struct sockaddr sa; // AF_UNSPEC for unix-socket clients
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
};

struct rx_addr {
    socklen_t len;
    union {
        struct sockaddr sa;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
        struct sockaddr_un un;
    };
};

struct rx_cidr {
    uint8_t bytes[16]; // network order; IPv4 in the first four
    uint8_t bits;
    uint8_t family; // AF_INET or AF_INET6
};

enum { RX_ADDR_TEXT = 128 }; // room for any address rx_addr_print writes

// All parsers: 0, or -1 with a short reason ("port out of range") in err[RX_ADDR_TEXT].

// "A.B.C.D:P", "[v6]:P", "*:P" (both families), "unix:/path"; P may be "LOW-HIGH". "systemd:NAME" is no address yet: one of
// family AF_UNSPEC, with NAME in un.sun_path.
// *out: malloc'ed array owned by the caller, *n its length.
int rx_addr_parse_listen(const char *text, struct rx_addr **out, unsigned *n, char *err);

// Where somebody can be connected to: an address, or a name to look up.
struct rx_target_text {
    struct rx_addr addr; // len 0: a name
    char host[256];      // "" for an address
    uint16_t port;       // 0: for SRV to say
    bool is_srv;
};

// "host:port", "[v6]:port", "unix:/path", "srv:_service._tcp.name". Nothing is looked up.
int rx_addr_parse_target(const char *text, struct rx_target_text *out, char *err);

// "10.0.0.0/8", "2001:db8::/32", or a single address.
int rx_cidr_parse(const char *text, struct rx_cidr *out, char *err);
// "192.0.2.1", "192.0.2.1:4000", "2001:db8::1", "[2001:db8::1]:4000"
int rx_ip_parse(const char *text, union rx_ip *out, char *err);

// "80" or "8000-8010"
int rx_ports_parse(const char *text, unsigned *low, unsigned *high, char *err);

// "10.0.0.0/8"; a single address without its length. Returns buf.
char *rx_cidr_print(const struct rx_cidr *block, char buf[RX_ADDR_TEXT]);
bool rx_cidr_has(const struct rx_cidr *block, const union rx_ip *ip);
bool rx_cidr_covers(const struct rx_cidr *block, const struct rx_cidr *other); // the same, or all of it

// "127.0.0.1:80", "[::1]:80", "unix:/path", "unix" for an unnamed peer. Returns buf.
char *rx_addr_print(const struct sockaddr *sa, char buf[RX_ADDR_TEXT]);
// Without the port.
char *rx_addr_print_host(const struct sockaddr *sa, char buf[RX_ADDR_TEXT]);
uint16_t rx_addr_port(const struct sockaddr *sa);
// 0.0.0.0 or [::]: reached by more than one address.
bool rx_addr_is_any(const struct rx_addr *a);
bool rx_addr_equal(const struct sockaddr *a, const struct sockaddr *b);
// Turns ::ffff:a.b.c.d into a.b.c.d, so that rules for IPv4 hold for mapped clients too.
void rx_ip_unmap(union rx_ip *ip);
