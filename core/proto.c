// SPDX-License-Identifier: MIT
// Enters: a protocol's name. Leaves: its identifier. Here is the one list of what is built in, in an order in
// which `explain --builtin` mistakes none for another, and the words for the notes. All of it constant.
//
// Deliberately not here: protocols that scripts declare; those belong to a generation.
#include "proto.h"

#include <string.h>

#include "proto/list.h"

// TCP: first those whose opening bytes say their name, then those with a magic number or an exact length, last the
// lines and frames that leave most to chance. sftp follows ssh: whoever wants it must ask for it by name. UDP: rtp last,
// it has the least to go by.
const struct rx_proto *const rx_protos[] = { &rx_proto_tls,    &rx_proto_http,    &rx_proto_ssh,       &rx_proto_sftp,
                                             &rx_proto_vnc,    &rx_proto_xmpp,    &rx_proto_mqtt,      &rx_proto_rdp,
                                             &rx_proto_socks5, &rx_proto_socks4,  &rx_proto_postgres,  &rx_proto_dns,
                                             &rx_proto_mysql,  &rx_proto_openvpn, &rx_proto_redis,     &rx_proto_smtp,
                                             &rx_proto_imap,   &rx_proto_ftp,     &rx_proto_pop3,      &rx_proto_coap,
                                             &rx_proto_quic,   &rx_proto_dtls,    &rx_proto_wireguard, &rx_proto_stun,
                                             &rx_proto_ntp,    &rx_proto_rtp };
const unsigned rx_n_protos = RX_COUNT(rx_protos);

const struct rx_proto *rx_proto_find(const char *name)
{
    for (unsigned i = 0; i < rx_n_protos; i++) {
        const struct rx_proto *proto = rx_protos[i];
        if (strcmp(proto->name, name) == 0 || (proto->alias && strcmp(proto->alias, name) == 0))
            return proto;
    }
    return NULL;
}

enum rx_verdict rx_proto_ask(const struct rx_proto *proto, const uint8_t *p, uint32_t n, struct rx_facts *f)
{
    rx_identify_fn *ask = f->n_grams ? proto->datagram : proto->identify;
    if (ask)
        return ask(p, n, f);
    f->have = f->pending = f->need = 0;
    f->note = RX_NOTE_NONE;
    return RX_NO;
}

const char *rx_note_name(enum rx_note note)
{
    static const char *const names[RX_NOTE_COUNT] = {
#define X(id, name) [RX_NOTE_##id] = name,
        RX_NOTE_LIST(X)
#undef X
    };
    return (unsigned)note < RX_NOTE_COUNT ? names[note] : "unknown";
}
