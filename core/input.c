// SPDX-License-Identifier: MIT
// Enters: the files `explain` names. Leaves: bytes, and where the client cut them. Several files are the segments
// of one connection. What is larger than any first bytes can be is refused rather than cut in silence.
#include "input.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int fail_memory(char *err)
{
    snprintf(err, RX_INPUT_ERROR, "out of memory");
    return -1;
}

int rx_input_append(struct rx_input *in, const uint8_t *p, size_t n)
{
    if (n > RX_INPUT_MOST - in->len)
        return -1;
    uint8_t *grown = realloc(in->bytes, in->len + n + 1);
    if (!grown)
        return -1;
    in->bytes = grown;
    if (n)
        memcpy(grown + in->len, p, n);
    in->len += (uint32_t)n;
    return 0;
}

int rx_input_cut(struct rx_input *in)
{
    if (in->n_cuts ? in->cuts[in->n_cuts - 1] == in->len : in->len == 0)
        return 0;
    uint32_t *grown = realloc(in->cuts, (in->n_cuts + 1) * sizeof *grown);
    if (!grown)
        return -1;
    in->cuts = grown;
    grown[in->n_cuts++] = in->len;
    return 0;
}

void rx_input_free(struct rx_input *in)
{
    free(in->bytes);
    free(in->cuts);
    *in = (struct rx_input){ 0 };
}

// ---- hexadecimal ------------------------------------------------------------------------------------------

static int digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if ((c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F'))
        return (c | 0x20) - 'a' + 10;
    return -1;
}

long rx_hex_decode(const char *text, size_t n, uint8_t *out, size_t *at, const char **why)
{
    long len = 0;
    for (size_t i = 0; i < n;) {
        *at = i;
        if (memchr(" \t\r\n\f\v:,", text[i], 8)) {
            i++;
            continue;
        }
        if (i + 1 < n && (text[i + 1] | 0x20) == 'x' && (text[i] == '0' || text[i] == '\\')) {
            *at = i += 2;
            if (i == n || digit(text[i]) < 0) {
                *why = "no digits after the prefix";
                return -1;
            }
        }
        int high = digit(text[i]), low = i + 1 < n ? digit(text[i + 1]) : -1;
        *at = i;
        if (high < 0) {
            *why = "not a hexadecimal digit";
            return -1;
        }
        if (low < 0) {
            *why = "half a byte: digits come in pairs";
            return -1;
        }
        out[len++] = (uint8_t)(high << 4 | low);
        i += 2;
    }
    return len;
}

static int add_hex(struct rx_input *in, const char *name, const uint8_t *text, size_t n, char *err)
{
    uint8_t *bytes = malloc(n / 2 + 1);
    size_t at = 0;
    const char *why = NULL;
    if (!bytes)
        return fail_memory(err);
    long len = rx_hex_decode((const char *)text, n, bytes, &at, &why);
    if (len < 0)
        snprintf(err, RX_INPUT_ERROR, "--hex: %.128s: %s at offset %zu", name, why, at);
    else if (rx_input_append(in, bytes, (size_t)len))
        len = fail_memory(err);
    free(bytes);
    return len < 0 ? -1 : 0;
}

// ---- files ------------------------------------------------------------------------------------------------

// Everything there is; hexadecimal text may be some times longer than what it says.
static int slurp(FILE *f, const char *name, size_t most, uint8_t **text, size_t *len, char *err)
{
    size_t cap = 0;
    *text = NULL;
    *len = 0;
    while (!feof(f) && !ferror(f)) {
        if (*len == cap) {
            cap = cap ? cap * 2 : 16384;
            uint8_t *grown = realloc(*text, cap);
            if (!grown)
                return fail_memory(err);
            *text = grown;
        }
        *len += fread(*text + *len, 1, cap - *len, f);
        if (*len > most) {
            snprintf(err, RX_INPUT_ERROR, "%.128s: larger than %zu MB; only first bytes are wanted", name,
                     most >> 20);
            return -1;
        }
    }
    if (!ferror(f))
        return 0;
    snprintf(err, RX_INPUT_ERROR, "%.128s: %s", name, strerror(errno));
    return -1;
}

static int add_file(struct rx_input *in, const char *path, bool is_hex, char *err)
{
    bool is_stdin = !strcmp(path, "-");
    const char *name = is_stdin ? "standard input" : path;
    FILE *f = is_stdin ? stdin : fopen(path, "rb");
    uint8_t *text;
    size_t len;
    if (!f) {
        snprintf(err, RX_INPUT_ERROR, "%.128s: %s", name, strerror(errno));
        return -1;
    }
    int rc = slurp(f, name, is_hex ? 8 * (size_t)RX_INPUT_MOST : (size_t)RX_INPUT_MOST, &text, &len, err);
    if (!rc && is_hex)
        rc = add_hex(in, name, text, len, err);
    else if (!rc && rx_input_append(in, text, len))
        rc = fail_memory(err);
    if (!rc && rx_input_cut(in))
        rc = fail_memory(err);
    free(text);
    if (!is_stdin)
        fclose(f);
    return rc;
}

// "517,1500": the sizes of the client's segments; what is left over is one more.
static int cut_segments(struct rx_input *in, const char *list, char *err)
{
    uint32_t len = in->len;
    uint64_t at = 0;
    in->n_cuts = 0;
    for (const char *p = list;;) {
        char *end;
        if (*p < '0' || *p > '9') {
            snprintf(err, RX_INPUT_ERROR, "--segments: \"%.60s\" is not a list of sizes such as 517,1500", list);
            return -1;
        }
        errno = 0;
        unsigned long n = strtoul(p, &end, 10);
        if (errno || n > UINT32_MAX || (at += n) > len) {
            snprintf(err, RX_INPUT_ERROR, "--segments: the sizes add up to more than the %u bytes there are", len);
            return -1;
        }
        in->len = (uint32_t)at;
        int rc = rx_input_cut(in);
        in->len = len;
        if (rc)
            return fail_memory(err);
        if (!*end)
            break;
        p = *end == ',' ? end + 1 : end;
    }
    return rx_input_cut(in) ? fail_memory(err) : 0;
}

int rx_input_read(struct rx_input *in, const struct rx_args *a, char err[RX_INPUT_ERROR])
{
    static const char *const from_stdin[] = { "-" };
    const char *const *files = a->n_files ? (const char *const *)a->files : from_stdin;
    unsigned n = a->n_files ? a->n_files : 1;
    int rc = 0;
    *in = (struct rx_input){ 0 };
    if (a->is_pcap)
        rc = rx_capture_read(in, files[0], err);
    else
        for (unsigned i = 0; i < n && !rc; i++)
            rc = add_file(in, files[i], a->is_hex, err);
    if (!rc && a->segments)
        rc = cut_segments(in, a->segments, err);
    if (rc)
        rx_input_free(in);
    return rc;
}
