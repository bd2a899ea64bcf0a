// SPDX-License-Identifier: MIT
// How each built-in protocol is answered: one step per protocol, the smaller ones as rows of one table.
// Enters: a talk. Leaves: its bytes to send, in a form that real clients show to their users where the protocol has
// a place for text; where it has none (socks, rdp) the shortest refusal.
//
// Every answer is one a server may give at that moment and after which it closes. Answers are errors wherever a
// client could take anything else for success: redis-cli would show "+text" as well, but an application would
// believe its SET was done.
//
// Deliberately not done: a SOCKS or RDP session just to have somewhere to put the text.
#include <stdio.h>
#include <string.h>

#include "describe.h"
#include "proto/list.h"
#include "proto/wire.h"

// ---- one line, wrapped ------------------------------------------------------------------------------------------

// Those that answer with one line of text, be it to a command or as their greeting.
static const struct line_form {
    const struct rx_proto *def;
    const char *before;
} line_forms[] = {
    { &rx_proto_redis, "-ERR " }, // RESP simple error
    { &rx_proto_smtp, "554 " },   // RFC 5321 3.1, 4.2.2; 554 is a greeting too
    { &rx_proto_ftp, "421 " },    // RFC 959 4.2.1
    { &rx_proto_pop3, "-ERR " },  // RFC 1939 3
    { &rx_proto_imap, "* BYE " }, // RFC 9051 7.1.5, in greetings too
};

static bool step_line(struct rx_talk *t)
{
    char line[RX_TALK_LINE];
    if (t->in.len && !rx_talk_learn(t))
        return false;
    for (unsigned i = 0; i < RX_COUNT(line_forms); i++)
        if (line_forms[i].def == t->about.def)
            rx_bytes_print(&t->out, "%s%s\r\n", line_forms[i].before, rx_talk_line(t, line));
    return true;
}

// ---- http -------------------------------------------------------------------------------------------------------

static bool is_method(const struct rx_facts *f, const char *method)
{
    size_t len = strlen(method);
    return f->have & RX_FACT_METHOD && f->method.len == len && !memcmp(f->method.ptr, method, len);
}

static bool step_http(struct rx_talk *t)
{
    bool is_known = rx_talk_learn(t);
    if (t->facts.have & RX_FACT_VERSION && t->facts.version >= 0x0200) {
        t->step = rx_talk_h2;
        return t->step(t);
    }
    if (!is_known)
        return false;
    struct rx_bytes page = { 0 };
    rx_talk_page(t, &page);
    // RFC 1945 6: the answer to a request without a version is the body alone.
    bool is_simple = t->facts.have & RX_FACT_VERSION && t->facts.version < 0x0100;
    // RFC 9110 9.3.6: a 2xx to CONNECT would make this a tunnel.
    const char *status = is_method(&t->facts, "CONNECT") ? "501 Not Implemented" : "200 OK";
    if (!is_simple)
        rx_bytes_print(&t->out,
                       "HTTP/1.1 %s\r\nServer: refractium\r\nContent-Type: text/plain; charset=utf-8\r\n"
                       "X-Content-Type-Options: nosniff\r\nCache-Control: no-store\r\nContent-Length: %u\r\n"
                       "Connection: close\r\n\r\n",
                       status, page.len);
    if (!is_method(&t->facts, "HEAD"))
        rx_bytes_add(&t->out, page.ptr, page.len);
    t->out.is_short |= page.is_short;
    rx_bytes_free(&page);
    return true;
}

// ---- ssh --------------------------------------------------------------------------------------------------------

// A binary packet before any key exchange (RFC 4253 6): length, padding length, payload, padding to a multiple of 8
static void ssh_packet(struct rx_bytes *out, const struct rx_bytes *payload)
{
    static const uint8_t zeros[16];
    uint32_t padding = 8 - (payload->len + 5) % 8;
    if (padding < 4)
        padding += 8;
    rx_bytes_be(out, 1 + payload->len + padding, 4);
    rx_bytes_be(out, padding, 1);
    rx_bytes_add(out, payload->ptr, payload->len);
    rx_bytes_add(out, zeros, padding);
}

// SSH_MSG_DISCONNECT may be sent at any time (RFC 4253 11.1); OpenSSH, PuTTY and libssh show its description.
static bool step_ssh(struct rx_talk *t)
{
    enum { DISCONNECT = 1, BY_APPLICATION = 11 };
    char line[RX_TALK_LINE];
    if (t->phase == 0) {
        rx_bytes_text(&t->out, "SSH-2.0-refractium\r\n"); // RFC 4253 4.2: either side may speak first
        t->phase = 1;
    }
    if (!rx_talk_learn(t))
        return false;
    struct rx_bytes payload = { 0 };
    rx_talk_line(t, line);
    rx_bytes_be(&payload, DISCONNECT, 1);
    rx_bytes_be(&payload, BY_APPLICATION, 4);
    rx_bytes_be(&payload, (uint32_t)strlen(line), 4);
    rx_bytes_text(&payload, line);
    rx_bytes_be(&payload, 2, 4);
    rx_bytes_text(&payload, "en");
    ssh_packet(&t->out, &payload);
    t->out.is_short |= payload.is_short;
    rx_bytes_free(&payload);
    return true;
}

// ---- databases --------------------------------------------------------------------------------------------------

// ErrorResponse: fields of a letter and a NUL-terminated string, then NUL (PostgreSQL documentation, "Error and
// Notice Message Fields"); 08004 is sqlserver_rejected_establishment_of_sqlconnection.
static void postgres_error(struct rx_bytes *out, const char *text)
{
    static const char fields[] = "SFATAL\0VFATAL\0C08004\0M";
    uint32_t len = (uint32_t)(4 + sizeof fields - 1 + strlen(text) + 2);
    rx_bytes_be(out, 'E', 1);
    rx_bytes_be(out, len, 4);
    rx_bytes_add(out, fields, sizeof fields - 1);
    rx_bytes_add(out, text, strlen(text) + 1);
    rx_bytes_be(out, 0, 1);
}

static bool step_postgres(struct rx_talk *t)
{
    enum { CANCEL = 80877102, SSL = 80877103, GSSENC = 80877104, V2 = 2 };
    char line[RX_TALK_LINE];
    // 'N' to both offers of encryption, each made once; then the client starts in the clear or leaves.
    while (t->phase < 2 && t->in.len >= 8 && wire_be32(t->in.ptr) == 8 &&
           (wire_be32(t->in.ptr + 4) == SSL || wire_be32(t->in.ptr + 4) == GSSENC)) {
        rx_bytes_be(&t->out, 'N', 1);
        rx_bytes_drop(&t->in, 8);
        t->phase++;
    }
    if (t->in.len < 8)
        return t->is_ended;
    uint32_t code = wire_be32(t->in.ptr + 4);
    if (code == CANCEL) // is never answered (PostgreSQL documentation, "Canceling Requests in Progress")
        return true;
    if (!rx_talk_learn(t))
        return false;
    rx_talk_line(t, line);
    if (code >> 16 == V2) { // 'E' and a string
        rx_bytes_be(&t->out, 'E', 1);
        rx_bytes_add(&t->out, line, strlen(line) + 1);
    } else {
        postgres_error(&t->out, line);
    }
    return true;
}

// ERR_Packet (MySQL documentation): before the client has said what it can do it has no SQL state.
static bool step_mysql(struct rx_talk *t)
{
    enum { UNKNOWN_ERROR = 1105 };
    char line[RX_TALK_LINE];
    bool has_state = t->in.len >= 4;
    if (t->in.len && !rx_talk_learn(t))
        return false;
    rx_talk_line(t, line);
    uint32_t len = (uint32_t)(3 + (has_state ? 6 : 0) + strlen(line));
    uint8_t head[7] = {
        (uint8_t)len,         (uint8_t)(len >> 8), 0, (uint8_t)(has_state ? t->in.ptr[3] + 1 : 0), 0xff,
        UNKNOWN_ERROR & 0xff, UNKNOWN_ERROR >> 8
    };
    rx_bytes_add(&t->out, head, sizeof head);
    if (has_state)
        rx_bytes_text(&t->out, "#HY000");
    rx_bytes_text(&t->out, line);
    return true;
}

// ---- the others -------------------------------------------------------------------------------------------------

// MQTT 5.0 3.2: CONNACK, "server unavailable", and the text as reason string. 3.1.1 has the code alone.
static bool step_mqtt(struct rx_talk *t)
{
    enum { CONNACK = 0x20, UNAVAILABLE = 3, UNAVAILABLE_5 = 0x88, REASON_STRING = 0x1f };
    char line[RX_TALK_LINE];
    if (!rx_talk_learn(t))
        return false;
    if (!(t->facts.have & RX_FACT_VERSION) || t->facts.version != 5) {
        const uint8_t refusal[] = { CONNACK, 2, 0, UNAVAILABLE };
        rx_bytes_add(&t->out, refusal, sizeof refusal);
        return true;
    }
    rx_talk_line(t, line);
    line[120] = 0; // so that each length below is one byte
    uint32_t len = (uint32_t)strlen(line);
    rx_bytes_be(&t->out, CONNACK << 8 | (2 + 1 + 3 + len), 2);
    rx_bytes_be(&t->out, UNAVAILABLE_5, 2); // no session present; the reason
    rx_bytes_be(&t->out, (3 + len) << 8 | REASON_STRING, 2);
    rx_bytes_be(&t->out, len, 2);
    rx_bytes_text(&t->out, line);
    return true;
}

// Text in XML: rx_log_escape has left printable ASCII without quotation marks.
static void xml_text(struct rx_bytes *out, const char *text)
{
    for (; *text; text++) {
        if (*text == '&')
            rx_bytes_text(out, "&amp;");
        else if (*text == '<')
            rx_bytes_text(out, "&lt;");
        else if (*text == '>')
            rx_bytes_text(out, "&gt;");
        else if (*text == '\'')
            rx_bytes_text(out, "&apos;");
        else
            rx_bytes_add(out, text, 1);
    }
}

// RFC 6120 4.9.1.2: an error in the set-up still needs the opening tag; 4.9.3.21: undefined-condition
static bool step_xmpp(struct rx_talk *t)
{
    char line[RX_TALK_LINE];
    if (!rx_talk_learn(t))
        return false;
    rx_bytes_text(&t->out, "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
                           "xmlns:stream='http://etherx.jabber.org/streams' id='refractium' version='1.0'");
    for (uint32_t i = 0; i < t->told.n; i++) {
        if (strcmp(t->told.fact[i].name, "host") == 0) { // RFC 6120 4.7.1
            rx_bytes_text(&t->out, " from='");
            xml_text(&t->out, t->told.fact[i].value);
            rx_bytes_text(&t->out, "'");
        }
    }
    rx_bytes_text(&t->out, "><stream:error><undefined-condition xmlns='urn:ietf:params:xml:ns:xmpp-streams'/>"
                           "<text xmlns='urn:ietf:params:xml:ns:xmpp-streams' xml:lang='en'>");
    xml_text(&t->out, rx_talk_line(t, line));
    rx_bytes_text(&t->out, "</text></stream:error></stream:stream>");
    return true;
}

// RFC 6143 7.1.1, 7.1.2: the server names a version, the client its own, then no security type and the reason.
static bool step_vnc(struct rx_talk *t)
{
    enum { VERSION = 12 };
    static const char old[] = "RFB 003.003\n";
    char line[RX_TALK_LINE];
    if (t->phase == 0) {
        rx_bytes_text(&t->out, "RFB 003.008\n");
        t->phase = 1;
    }
    if (t->in.len < VERSION)
        return t->is_ended;
    rx_talk_line(t, line);
    bool is_old = !memcmp(t->in.ptr, old, VERSION); // 7.1.2: there the type is four bytes
    rx_bytes_be(&t->out, 0, is_old ? 4 : 1);
    rx_bytes_be(&t->out, (uint32_t)strlen(line), 4);
    rx_bytes_text(&t->out, line);
    return true;
}

// Those that have no place for text
static bool step_socks4(struct rx_talk *t)
{
    static const uint8_t rejected[8] = { 0, 91 };
    rx_bytes_add(&t->out, rejected, sizeof rejected);
    return true;
}

static bool step_socks5(struct rx_talk *t)
{
    static const uint8_t none_acceptable[] = { 5, 0xff }; // RFC 1928 3
    rx_bytes_add(&t->out, none_acceptable, sizeof none_acceptable);
    return true;
}

// X.224 Connection Confirm with RDP_NEG_FAILURE (MS-RDPBCGR 2.2.1.2.2): SSL_CERT_NOT_ON_SERVER
static bool step_rdp(struct rx_talk *t)
{
    static const uint8_t failure[] = { 3, 0, 0, 19, 14, 0xd0, 0, 0, 0, 0, 0, 3, 0, 8, 0, 3, 0, 0, 0 };
    rx_bytes_add(&t->out, failure, sizeof failure);
    return true;
}

rx_talk_step *rx_talk_step_of(const struct rx_proto *def)
{
    static const struct {
        const struct rx_proto *def;
        rx_talk_step *step;
    } steps[] = {
        { &rx_proto_http, step_http }, { &rx_proto_tls, rx_talk_tls },        { &rx_proto_ssh, step_ssh },
        { &rx_proto_sftp, step_ssh },  { &rx_proto_dns, rx_talk_dns },        { &rx_proto_mysql, step_mysql },
        { &rx_proto_mqtt, step_mqtt }, { &rx_proto_postgres, step_postgres }, { &rx_proto_xmpp, step_xmpp },
        { &rx_proto_vnc, step_vnc },   { &rx_proto_socks4, step_socks4 },     { &rx_proto_socks5, step_socks5 },
        { &rx_proto_rdp, step_rdp },
    };
    for (unsigned i = 0; i < RX_COUNT(line_forms); i++)
        if (line_forms[i].def == def)
            return step_line;
    for (unsigned i = 0; i < RX_COUNT(steps); i++)
        if (steps[i].def == def)
            return steps[i].step;
    return NULL;
}
