// SPDX-License-Identifier: MIT
#include "qtype.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

// RFC 1035 3.2.2, RFC 3596, RFC 2782, RFC 9460 and the other types people route by.
static const struct {
    uint16_t number;
    const char *name;
} types[] = { { 1, "A" },      { 2, "NS" },     { 5, "CNAME" },   { 6, "SOA" },     { 12, "PTR" },  { 13, "HINFO" },
              { 15, "MX" },    { 16, "TXT" },   { 28, "AAAA" },   { 33, "SRV" },    { 35, "NAPTR" }, { 43, "DS" },
              { 44, "SSHFP" }, { 46, "RRSIG" }, { 47, "NSEC" },   { 48, "DNSKEY" }, { 52, "TLSA" }, { 64, "SVCB" },
              { 65, "HTTPS" }, { 99, "SPF" },   { 251, "IXFR" },  { 252, "AXFR" },  { 255, "ANY" }, { 257, "CAA" } };

int rx_qtype_number(const char *text)
{
    for (unsigned i = 0; i < RX_COUNT(types); i++)
        if (!strcasecmp(types[i].name, text))
            return types[i].number;
    if (!strncasecmp(text, "TYPE", 4))
        text += 4;
    if (!*text || strlen(text) > 5 || strspn(text, "0123456789") != strlen(text))
        return -1;
    long v = strtol(text, NULL, 10);
    return v <= 65535 ? (int)v : -1;
}

const char *rx_qtype_name(uint16_t qtype, char buf[16])
{
    for (unsigned i = 0; i < RX_COUNT(types); i++)
        if (types[i].number == qtype)
            return types[i].name;
    snprintf(buf, 16, "TYPE%u", qtype);
    return buf;
}
