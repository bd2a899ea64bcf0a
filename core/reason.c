// SPDX-License-Identifier: MIT
#include "reason.h"

static const struct {
    const char *word, *doc;
} reasons[] = {
#define X(id, word, doc) { word, doc },
    RX_REASON_LIST(X)
#undef X
};

const char *rx_reason_word(enum rx_reason why)
{
    return reasons[why].word;
}

const char *rx_reason_doc(enum rx_reason why)
{
    return reasons[why].doc;
}

enum rx_reason rx_reason_of_note(enum rx_note note)
{
    switch (note) {
    case RX_NOTE_NONE:
        return RX_REASON_NO_ROUTE;
    case RX_NOTE_TLS_INVALID:
        return RX_REASON_TLS_INVALID;
    case RX_NOTE_TLS_OVERSIZE:
        return RX_REASON_TLS_OVERSIZE;
    case RX_NOTE_HTTP_INVALID:
        return RX_REASON_HTTP_INVALID;
    case RX_NOTE_HTTP_OVERSIZE:
        return RX_REASON_HTTP_OVERSIZE;
    case RX_NOTE_PROTO_INVALID:
        return RX_REASON_PROTO_INVALID;
    case RX_NOTE_COUNT:
        break;
    }
    return RX_REASON_NO_ROUTE;
}
